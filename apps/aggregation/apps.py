"""App configuration."""

from django.apps import AppConfig


class AggregationConfig(AppConfig):
    """What came out."""

    name = "apps.aggregation"
    verbose_name = "Aggregation"
