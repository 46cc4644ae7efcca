"""The app's registration."""

from django.apps import AppConfig


class OperatorPagesConfig(AppConfig):
    """Registers `apps.operator_pages`, for its templates and its stylesheet."""

    name = "apps.operator_pages"
    label = "operator_pages"
    verbose_name = "Operator pages"
