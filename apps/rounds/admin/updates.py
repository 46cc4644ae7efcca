"""Updates in the admin: what became of each, and why. A stalled one can be tried again; nothing else changes them."""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.audit import services as audit
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin, Decision
from apps.rounds import services
from apps.rounds.admin.cohort import cohort_of
from apps.rounds.admin.update_columns import UpdateColumns
from apps.rounds.models import Round, Update, read_payload
from boltz_core.rounds.states import RoundState, UpdateState
from boltz_protocol.messages import Claims, Receipt, SignedDocument

LATEST_ROUNDS = 12
SECRET_OR_BULKY = ("staged_key", "lease_token", "signature", "signature_base", "public_key")
MEANINGS = {
    UpdateState.RECEIVED: "It is durable and waits for a worker.",
    UpdateState.PROCESSING: "A worker has it.",
    UpdateState.STAGED: "It is valid, scored, and sealed again in segments.",
    UpdateState.AGGREGATED: "It is part of a published version.",
    UpdateState.REJECTED: "It broke a rule; the code says which.",
    UpdateState.QUARANTINED: "It looks wrong; it is left out unless an operator lets it in.",
    UpdateState.STALLED: (
        "Our own failures used up its attempts; nothing is held against the client. Try it again before the round is "
        "frozen."
    ),
    UpdateState.EXPIRED: "Its round ended without it.",
    UpdateState.ERASED: "Its client was erased.",
}

TRY_AGAIN = Decision(
    name="try-again",
    label="Try again",
    consequence=(
        "A worker takes it once more, with its full number of attempts. Do it when what made it fail has been mended."
    ),
    done="waits for a worker",
    carry_out=services.try_again,
    applies=lambda update: (
        update.state == UpdateState.STALLED and update.round.state in {RoundState.OPEN, RoundState.SEALED}
    ),
    many=True,
)


class RoundFilter(admin.SimpleListFilter):
    """The latest rounds; any other by its number, from the round's page."""

    title = "round"
    parameter_name = "round"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """The latest ones."""
        rounds = Round.objects.select_related("model").order_by("-opens_at", "-number")[:LATEST_ROUNDS]
        return [(round_.label, str(round_)) for round_ in rounds]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Update]) -> QuerySet[Update]:
        """The updates of one round."""
        if self.value() is None:
            return queryset
        model, _, number = self.value().rpartition("/")
        if not number.isascii() or not number.isdecimal() or len(number) > 9:  # noqa: PLR2004 - what the column holds
            return queryset.none()
        return queryset.filter(round__model__name=model, round__number=int(number))


@admin.register(Update)
class UpdateAdmin(UpdateColumns, DecidingAdmin):
    """Updates, newest first."""

    actor_of = staticmethod(audit.actor_of)
    decisions = (TRY_AGAIN,)
    nothing_yet = "Clients send updates while a round is open."
    list_display = (
        "update_link",
        "round_link",
        "client_link",
        "state_word",
        "code_word",
        "examples",
        "norm_short",
        "share_word",
        "received",
    )
    list_display_links = None
    list_filter = ("state", "round__model", RoundFilter, "code")
    list_select_related = ("client", "round__model")
    search_fields = ("id__exact", "client__name", "client__id__exact", "body_sha256__exact", "code__exact")
    search_help_text = "Client's name, or a whole update id, digest or code"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("full_id", "client_link"),
                    ("state_word", "round_full"),
                    ("code_word", "version_link"),
                    ("meaning", "share_word"),
                    "reason_text",
                )
            },
        ),
        (
            "Claims",
            {
                "fields": ("claims_json",),
                "classes": ("op-whole",),
                "description": "What the client says about its update. Never trusted.",
            },
        ),
        (
            "Scores",
            {
                "fields": ("scores",),
                "classes": ("op-whole",),
                "description": "Measured here, beside the other updates of the round.",
            },
        ),
        ("Bytes", {"fields": ("body_digest", "body_size", "keys", "receipt_json")}),
        ("Times", {"fields": ("received_exactly", "decided_exactly", "work")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Update]:
        """Without what no page shows."""
        return (
            super()
            .get_queryset(request)
            .select_related("client", "round__model", "version__model")
            .defer(*SECRET_OR_BULKY)
        )

    round_link = column(
        "round", lambda update: display.link_to(update.round, update.round.label), ordering="round__number"
    )
    round_full = column("round", lambda update: display.link_to(update.round))
    version_link = column("part of version", lambda update: display.link_to(update.version))
    full_id = column("update id", lambda update: display.code(update.pk))
    meaning = column("that means", lambda update: MEANINGS[UpdateState(update.state)])
    reason_text = column("reason", lambda update: update.reason or display.NOTHING)

    @admin.display(description="claims")
    def claims_json(self, update: Update) -> Any:
        """Once it has been opened."""
        if update.claims is None:
            return "Not known: they are sealed in the envelope until it has been opened."
        return display.json_block(msgspec.to_builtins(msgspec.convert(update.claims, Claims)))

    @admin.display(description="scores")
    def scores(self, update: Update) -> Any:
        """Its numbers beside the round's."""
        cohort = cohort_of(update.round)
        rows = [
            (
                "norm (L2)",
                display.number(update.norm),
                display.number(cohort.mean_norm),
                display.number(cohort.median_norm),
            ),
            (
                "dot with the last step",
                display.number(update.step_dot),
                display.number(cohort.mean_dot),
                display.number(cohort.median_dot),
            ),
        ]
        headers = ("score", "this update", f"mean of {cohort.size}", f"median of {cohort.size}")
        return display.table(headers, rows if cohort.size else [], empty="No update of this round has been scored.")

    body_digest = column("SHA-256 of the envelope", lambda update: display.code(update.body_sha256))
    body_size = column("size of the envelope", lambda update: display.size(update.body_bytes))

    @admin.display(description="keys")
    def keys(self, update: Update) -> Any:
        """Who signed the request, and for which key it is sealed."""
        rows = [
            ("signed by the client's", display.code(update.client_kid)),
            ("sealed for our", display.code(update.server_kid)),
        ]
        return display.table(("", "key id"), rows, empty="")

    @admin.display(description="receipt, as signed")
    def receipt_json(self, update: Update) -> Any:
        """The payload, decoded, and who signed it."""
        document = msgspec.convert(update.receipt, SignedDocument)
        return display.json_block({"signed by": document.kid, **msgspec.to_builtins(read_payload(document, Receipt))})

    received_exactly = column("received", lambda update: display.exact_moment(update.received_at))
    decided_exactly = column("decided", lambda update: display.exact_moment(update.decided_at))

    @admin.display(description="work")
    def work(self, update: Update) -> str:
        """Lease and attempts."""
        tried = (
            f"{update.attempts} attempts, {update.lost_leases} leases lost, {update.failures} failures of ours, "
            f"asked for {update.kicks} times"
        )
        if update.lease_token and update.lease_expires_at:
            until = f"{update.lease_expires_at:%H:%M:%S} UTC ({display.distance(update.lease_expires_at)})"
            return f"leased until {until}; {tried}"
        return f"no lease; {tried}"
