"""A client's page with its updates on it."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.clients.admin import ClientAdmin
from apps.clients.models import Client
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.read_only import ReadOnlyInline
from apps.rounds.admin.update_columns import UpdateColumns
from apps.rounds.models import Update


class ClientUpdateInline(UpdateColumns, ReadOnlyInline):
    """What a client has sent, newest first."""

    model = Update
    fields = (
        "update_link",
        "round_link",
        "state_word",
        "code_word",
        "examples",
        "norm_short",
        "share_word",
        "received",
    )
    verbose_name_plural = "updates"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Update]:
        """With their rounds."""
        return super().get_queryset(request).select_related("round__model")

    round_link = column("round", lambda update: display.link_to(update.round, update.round.label))


@admin.register(Client)
class ClientWithUpdatesAdmin(ClientAdmin):
    """Clients, each with its updates."""

    inlines = (*ClientAdmin.inlines, ClientUpdateInline)
