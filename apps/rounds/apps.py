"""App configuration."""

from django.apps import AppConfig


class RoundsConfig(AppConfig):
    """What was sent, when."""

    name = "apps.rounds"
    verbose_name = "Models and rounds"

    def ready(self) -> None:
        """Take part in the erasure of a client."""
        from apps.clients.services import client_erasing
        from apps.rounds.services import erasure

        client_erasing.connect(erasure.on_client_erasing, dispatch_uid="rounds.erasure")
