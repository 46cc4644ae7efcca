"""Clients: who they are, what they may do, what they have earned; and an operator's decisions about them.

`apps.rounds.admin` registers this with a client's updates beside it: they are the rounds app's.
"""

from typing import Any

from django import forms
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from apps.audit import services as audit
from apps.clients import services
from apps.clients.admin import trust
from apps.clients.models import Client, ClientKey, KeyState, Organisation
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin, Decision, OptionalReasonForm, ReasonForm
from apps.operator_pages.form_pages import OperatorForm
from apps.operator_pages.read_only import ReadOnlyInline
from boltz_core.rounds.states import ClientState

PENDING, ACTIVE, SUSPENDED = ClientState.PENDING, ClientState.ACTIVE, ClientState.SUSPENDED
LEFT_OUT = "What it has in a round that is not frozen yet is left out"


class OrganisationForm(OperatorForm):
    """To which organisation a client belongs."""

    organisation = forms.ModelChoiceField(
        Organisation.objects.all(),
        required=False,
        empty_label="none",
        widget=UnfoldAdminSelectWidget,
        help_text="An organisation comes into being with its first enrolment token.",
    )

    def __init__(self, *args: Any, row: Client | None = None, **kwargs: Any) -> None:
        """Shows the present one."""
        super().__init__(*args, row=row, initial={"organisation": row and row.organisation_id}, **kwargs)


DECISIONS = (
    Decision(
        name="approve",
        label="Approve",
        consequence="The client may take part from its next request on.",
        done="approved",
        carry_out=services.approve,
        applies=lambda client: client.state == PENDING,
        form=OptionalReasonForm,
        many=True,
    ),
    Decision(
        name="suspend",
        label="Suspend",
        consequence=f"The client is kept out, from its next request on, until it is resumed. {LEFT_OUT}, unless it is "
        "resumed before.",
        done="suspended",
        carry_out=services.suspend,
        applies=lambda client: client.state == ACTIVE,
        form=ReasonForm,
        danger=True,
        many=True,
    ),
    Decision(
        name="resume",
        label="Resume",
        consequence="The suspension ends: the client may take part from its next request on.",
        done="resumed",
        carry_out=services.resume,
        applies=lambda client: client.state == SUSPENDED,
        form=ReasonForm,
        many=True,
    ),
    Decision(
        name="organisation",
        label="Assign organisation",
        consequence="Whoever belongs to one organisation shares the cap on its weight.",
        done="assigned",
        carry_out=services.assign_organisation,
        applies=lambda client: client.state in {PENDING, ACTIVE, SUSPENDED},
        form=OrganisationForm,
    ),
    Decision(
        name="revoke",
        label="Revoke",
        consequence=(f"The client is kept out for good: its keys are revoked, and this cannot be undone. {LEFT_OUT}."),
        done="revoked",
        carry_out=services.revoke,
        applies=lambda client: client.state in {PENDING, ACTIVE, SUSPENDED},
        form=ReasonForm,
        danger=True,
        many=True,
    ),
    Decision(
        name="erase",
        label="Erase",
        consequence="The client is erased as if it had left by itself, and this cannot be undone. Its name, region and "
        "organisation go, its keys are revoked, what is stored of its updates is destroyed, and so is the key over its "
        f"details in the log. {LEFT_OUT}; in a round that is frozen it is used, and destroyed when that round has "
        "ended. Published versions, its public keys and entries of the log without its name stay.",
        done="erased",
        carry_out=services.erase,
        applies=lambda client: client.state != ClientState.ERASED,
        form=ReasonForm,
        danger=True,
    ),
)


class KeyInline(ReadOnlyInline):
    """A client's keys, the old ones too: what they have signed is checked with them."""

    model = ClientKey
    fields = ("key_id", "state_word", "since", "until")
    verbose_name_plural = "keys"

    key_id = column("key id", lambda key: display.code(key.kid))
    state_word = column("state", lambda key: display.badge(key.state))
    since = column("since", lambda key: display.moment(key.created_at))
    until = column("until", lambda key: display.moment(key.retired_at))


class ClientAdmin(DecidingAdmin):
    """Clients, newest first."""

    actor_of = staticmethod(audit.actor_of)
    decisions = DECISIONS
    nothing_yet = "A client enrols itself. Make an enrolment token and give it to a participant."
    list_display = (
        "name",
        "kind",
        "region",
        "organisation",
        "state_word",
        "key_id",
        "trust_scale",
        "rounds_taken",
        "enrolled",
    )
    list_filter = ("state", "kind", "organisation", "region")
    list_select_related = ("organisation",)
    search_fields = ("name", "id__exact", "pseudonym__exact", "region", "organisation__name", "keys__kid__exact")
    search_help_text = "Name, region, organisation, or a whole id, pseudonym or key id"
    fieldsets = (
        (None, {"fields": (("name", "state_word"), ("kind", "organisation"), ("region", "enrolled_exactly"))}),
        ("Trust", {"fields": ("trust_in_words", "rounds_taken")}),
        ("Identity", {"fields": ("client_id", "active_key", "log_name")}),
    )
    inlines = (KeyInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        """With the active key and the number of rounds taken part in."""
        active = ClientKey.objects.filter(client=OuterRef("pk"), state=KeyState.ACTIVE).values("kid")
        rounds = Client.objects.filter(pk=OuterRef("pk")).annotate(n=Count("participations")).values("n")
        return super().get_queryset(request).annotate(active_kid=Subquery(active), joined=Subquery(rounds))

    state_word = column("status", lambda client: display.badge(client.state), ordering="state")
    key_id = column("key", lambda client: display.short(client.active_kid))
    active_key = column("active key", lambda client: display.code(client.active_kid))
    trust_scale = column("trust", trust.scale, ordering="credit")
    trust_in_words = column("trust", trust.in_words)
    rounds_taken = column("rounds", lambda client: client.joined or 0, ordering="joined")
    enrolled = column("enrolled", lambda client: display.day(client.created_at), ordering="created_at")
    enrolled_exactly = column("enrolled", lambda client: display.exact_moment(client.created_at))
    client_id = column("client id", lambda client: display.code(client.id))
    log_name = column(
        "pseudonym in the log", lambda client: display.list_link("audit_logentry", client.pseudonym, q=client.pseudonym)
    )
