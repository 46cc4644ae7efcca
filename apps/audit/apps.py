"""The app's registration."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Registers `apps.audit`."""

    name = "apps.audit"
    label = "audit"
    verbose_name = "Log"
