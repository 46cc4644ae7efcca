"""What the aggregation app can tell."""

from apps.aggregation.selectors.metrics import mesh_metrics

__all__ = ["mesh_metrics"]
