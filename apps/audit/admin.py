"""The log in the admin: every leaf as it is, and what it commits to, as long as that may be read."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.audit import selectors
from apps.audit.models import LogEntry
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.read_only import ReadOnlyAdmin
from boltz_protocol.errors import ServerFaultError

CLIENT_PREFIX = "client_"


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Entries, newest first."""

    nothing_yet = "Everything that happens in the mesh is written here."
    list_display = ("at", "type_word", "who", "about", "round_label", "short_id")
    list_display_links = ("at",)
    list_filter = ("type",)
    search_fields = ("id__exact", "actor__exact", "subject__exact", "round__exact", "type__startswith")
    search_help_text = "Type, round (boltz-core/7), or the whole id or pseudonym"
    fields = (
        ("type_word", "exactly_at"),
        ("who_exactly", "about_exactly"),
        ("round_label", "full_id"),
        "detail_json",
        "leaf_json",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        """Without the leaves: a list does not need them."""
        return super().get_queryset(request).defer("leaf")

    at = column("time (UTC)", lambda entry: display.second(entry.created_at), ordering="created_at")
    exactly_at = column("time", lambda entry: display.exact_moment(entry.created_at))
    type_word = column("what", lambda entry: display.code(entry.type), ordering="type")
    who = column("who", lambda entry: pseudonym(entry.actor))
    about = column("about whom", lambda entry: pseudonym(entry.subject))
    who_exactly = column("who", lambda entry: pseudonym(entry.actor, whole=True))
    about_exactly = column("about whom", lambda entry: pseudonym(entry.subject, whole=True))
    round_label = column("round", lambda entry: entry.round or display.NOTHING, ordering="round")
    short_id = column("id", lambda entry: display.short(entry.pk))
    full_id = column("id", lambda entry: display.code(entry.pk))
    leaf_json = column("leaf, as it will be hashed", lambda entry: display.json_block(json.loads(bytes(entry.leaf))))

    @admin.display(description="detail")
    def detail_json(self, entry: LogEntry) -> Any:
        """What the leaf commits to, checked against it."""
        try:
            detail = selectors.read_detail(entry)
        except ServerFaultError as error:
            return f"It cannot be shown: {error.message}"
        if detail is None:
            return "Its subject has been forgotten: the key over this detail is destroyed."
        return display.json_block(detail) if detail else "There is none beyond the leaf."


def pseudonym(name: str | None, *, whole: bool = False) -> Any:
    """A pseudonym; a client's leads to the client, for those who may see clients."""
    text = (name or display.NOTHING) if whole else display.short_pseudonym(name)
    return display.list_link("clients_client", text, q=name) if name and name.startswith(CLIENT_PREFIX) else text
