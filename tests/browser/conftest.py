"""A mesh behind a real web server, and Chromium in front of it."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from tests.apps.limited import _full_buckets
from tests.apps.mesh import few_rsa_keys, mesh
from tests.apps.signed_requests import _own_key_directory, mesh_http, wsgi_application

__all__ = ["_full_buckets", "_own_key_directory", "few_rsa_keys", "mesh", "mesh_http", "wsgi_application"]

PASSWORD = "a-long-password-for-tests"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session", autouse=True)
def _static_directory():
    """whitenoise warns when nothing has been collected."""
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)


@dataclass
class Watched:
    """A page of the browser, logged in, and everything that went wrong on it."""

    page: object
    address: str
    troubles: list[str] = field(default_factory=list)

    def visit(self, path: str) -> None:
        self.page.goto(self.address + path)
        if self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            self.troubles.append(f"{path} is wider than the window")


@pytest.fixture
def open_browser(live_server) -> Iterator[Callable[..., contextlib.AbstractContextManager[Watched]]]:
    """Chromium at the admin, logged in. Ask the database before it is open: Playwright's loop keeps Django from it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(PROGRAMS)} is installed; on Debian: apt-get install chromium")
    # not at the top: a machine without it skips these tests
    from playwright.sync_api import sync_playwright

    User.objects.create_superuser("olga", password=PASSWORD)

    @contextlib.contextmanager
    def opened(width: int = 1440, height: int = 900, theme: str = "light") -> Iterator[Watched]:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme).new_page()
            watched = Watched(page, live_server.url)
            watch(watched)
            page.goto(f"{live_server.url}/admin/login/")
            page.fill("#id_username", "olga")
            page.fill("#id_password", PASSWORD)
            page.click("button[type=submit]")
            page.wait_for_url(f"{live_server.url}/admin/", wait_until="load")
            yield watched
            browser.close()

    return opened


def watch(watched: Watched) -> None:
    """Note errors of scripts, answers that are errors, and requests that fail."""
    page, troubles = watched.page, watched.troubles
    page.on("console", lambda said: troubles.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
    page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
    page.on("response", lambda got: troubles.append(f"{got.status}: {got.url}") if got.status >= 400 else None)
