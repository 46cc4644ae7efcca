"""The app's registration."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    """Registers `apps.keys`."""

    name = "apps.keys"
    label = "keys"
    verbose_name = "Keys"
