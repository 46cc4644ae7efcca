"""An operator at the admin, in this process."""

from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client

PASSWORD = "a-long-password-for-tests"


@pytest.fixture(autouse=True)
def _static_directory():
    """whitenoise warns when nothing has been collected."""
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)


@pytest.fixture
def operator(db):
    """Who may do everything."""
    return User.objects.create_superuser("olga", password=PASSWORD)


@pytest.fixture
def browser(operator):
    """A browser that the operator is logged in at; forms need their CSRF token only where a test says so."""
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture
def browser_of(db):
    """A browser of a staff member who has these rights alone: `clients.view_client` and so on."""

    def log_in(*rights: str) -> Client:
        user = User.objects.create_user("victor", password=PASSWORD, is_staff=True)
        for right in rights:
            app, _, codename = right.partition(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client = Client()
        client.force_login(user)
        return client

    return log_in
