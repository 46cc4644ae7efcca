"""Heartbeats in the admin: which kinds of processes are alive."""

from django.contrib import admin

from apps.aggregation.models import Heartbeat
from apps.aggregation.selectors import liveness
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.read_only import ReadOnlyAdmin


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """One row a kind of process."""

    nothing_yet = "Workers, beat and the reconciler write one when they run. Is the mesh started?"
    list_display = ("kind", "state_word", "last", "meaning")
    fields = ("kind", "state_word", "last_exactly", "meaning")

    state_word = column("state", lambda heartbeat: display.badge(liveness.state_of(heartbeat.kind, heartbeat.at)))
    last = column("last seen", lambda heartbeat: display.distance(heartbeat.at), ordering="at")
    last_exactly = column("last seen", lambda heartbeat: display.exact_moment(heartbeat.at))
    meaning = column("what it does", lambda heartbeat: liveness.MEANINGS.get(heartbeat.kind, ""))
