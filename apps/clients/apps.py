"""The app's registration."""

from django.apps import AppConfig


class ClientsConfig(AppConfig):
    """Registers `apps.clients`."""

    name = "apps.clients"
    label = "clients"
    verbose_name = "Participants"

    def ready(self) -> None:
        """Let the OpenAPI document know how requests are signed."""
        from apps.clients import openapi  # noqa: F401 - registers itself; the app registry must be ready
