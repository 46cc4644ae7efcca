"""The project as a Django app: it carries the management commands and templates that belong to no single app."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Registers `boltz_federated` as an app."""

    name = "boltz_federated"
    label = "project"
    verbose_name = "Mesh"
