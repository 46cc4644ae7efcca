"""App configuration."""

from django.apps import AppConfig


class AggregationConfig(AppConfig):
    """What came out."""

    name = "apps.aggregation"
    verbose_name = "Aggregation"

    def ready(self) -> None:
        """Take part in the erasure of updates."""
        from apps.aggregation.services import erasure
        from apps.rounds.signals import updates_erasing

        updates_erasing.connect(erasure.on_updates_erasing, dispatch_uid="aggregation.erasure")
