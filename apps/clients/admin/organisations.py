"""Organisations. One comes into being with its first enrolment token."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from apps.clients.models import Client, EnrolmentToken, Organisation
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.read_only import ReadOnlyAdmin


@admin.register(Organisation)
class OrganisationAdmin(ReadOnlyAdmin):
    """Organisations by name."""

    nothing_yet = "An organisation comes into being with its first enrolment token."
    list_display = ("name", "n_clients", "n_tokens", "since")
    search_fields = ("name",)
    search_help_text = "Name"
    fields = ("name", "n_clients", "n_tokens", "since")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organisation]:
        """With the number of clients and tokens."""
        return (
            super()
            .get_queryset(request)
            .annotate(clients_counted=count_of(Client), tokens_counted=count_of(EnrolmentToken))
        )

    @admin.display(description="clients", ordering="clients_counted")
    def n_clients(self, organisation: Any) -> Any:
        """How many, with a link to them."""
        n = organisation.clients_counted or 0
        return display.list_link("clients_client", str(n), organisation__id__exact=organisation.pk)

    @admin.display(description="enrolment tokens", ordering="tokens_counted")
    def n_tokens(self, organisation: Any) -> Any:
        """How many, with a link to them."""
        n = organisation.tokens_counted or 0
        return display.list_link("clients_enrolmenttoken", str(n), organisation__id__exact=organisation.pk)

    since = column("since", lambda organisation: display.moment(organisation.created_at), ordering="created_at")


def count_of(kind: type[Client] | type[EnrolmentToken]) -> Subquery:
    """How many rows of a kind belong to an organisation."""
    rows = kind.objects.filter(organisation=OuterRef("pk")).order_by().values("organisation")
    return Subquery(rows.annotate(n=Count("pk")).values("n"))
