"""The app's registration."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Registers `apps.audit`."""

    name = "apps.audit"
    label = "audit"
    verbose_name = "Log"

    def ready(self) -> None:
        """Listen to operators' log-ins."""
        from apps.audit import sign_ins  # noqa: F401 - connects its receivers; models must be loaded first
