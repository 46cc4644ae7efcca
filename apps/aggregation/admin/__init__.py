"""Runs and heartbeats in the admin; and rounds, with their runs."""

from apps.aggregation.admin.heartbeats import HeartbeatAdmin
from apps.aggregation.admin.rounds import RoundWithRunsAdmin
from apps.aggregation.admin.runs import RunAdmin

__all__ = ["HeartbeatAdmin", "RoundWithRunsAdmin", "RunAdmin"]
