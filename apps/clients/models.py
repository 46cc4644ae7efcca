"""Organisations, enrolment tokens, clients, their keys, and the nonces that they have used up.

A client's state changes only by `UPDATE ... WHERE id = ? AND state = expected` with a row count of 1 (services); the
table of changes is `boltz_core.rounds.states.CLIENT`.
"""

from typing import get_args

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Lower
from django.db.models.lookups import Exact

from boltz_core.rounds.states import ClientState
from boltz_core.trust.reputation import Reputation
from boltz_protocol.messages import ClientKind

KINDS = [(kind, kind.replace("_", " ")) for kind in get_args(ClientKind)]
KIND_VALUES = list(get_args(ClientKind))
STATES = [(state.value, state.value) for state in ClientState]


class KeyState(models.TextChoices):
    """`retired`: the client has put another in its place. `revoked`: it may never sign again."""

    ACTIVE = "active", "active"
    RETIRED = "retired", "retired"
    REVOKED = "revoked", "revoked"


class Organisation(models.Model):
    """Whom clients belong to. Set by an enrolment token or an operator, never by a client."""

    name = models.CharField(max_length=128, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class EnrolmentToken(models.Model):
    """Lets clients of one organisation in, a limited number of times. Shown once; only its digest is kept."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="tokens")
    kind = models.CharField(
        max_length=16, choices=KINDS, null=True, blank=True, help_text="only clients of this kind; any when empty"
    )
    max_uses = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField()
    revoked = models.BooleanField(default=False)
    note = models.CharField(max_length=256, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(uses__lte=F("max_uses"), max_uses__gte=1), name="token_never_overspent"),
            models.CheckConstraint(condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="token_digest_is_sha256"),
            models.CheckConstraint(condition=Q(kind__isnull=True) | Q(kind__in=KIND_VALUES), name="token_kind"),
        ]

    def __str__(self) -> str:
        return f"token {self.digest[:8]} of {self.organisation}"


class Client(models.Model):
    """Somebody who takes part.

    `pseudonym` stands for it in the log; `credit`, `debt` and `rounds_seen` are its reputation.
    """

    id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=128)
    kind = models.CharField(max_length=16, choices=KINDS)
    region = models.CharField(max_length=128, blank=True)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="clients", null=True, blank=True
    )
    state = models.CharField(max_length=10, choices=STATES, default=ClientState.PENDING.value)
    pseudonym = models.CharField(max_length=64, unique=True)
    credit = models.FloatField(default=0.0)
    debt = models.FloatField(default=0.0)
    rounds_seen = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # two names that differ in case only are one name to an operator's eye
            models.UniqueConstraint(Lower("name"), name="client_name_taken"),
            models.CheckConstraint(condition=Q(kind__in=KIND_VALUES), name="client_kind"),
            models.CheckConstraint(condition=Q(state__in=[state.value for state in ClientState]), name="client_state"),
            models.CheckConstraint(condition=Q(credit__gte=0, debt__gte=0), name="client_reputation"),
        ]

    def __str__(self) -> str:
        return self.name

    def reputation(self) -> Reputation:
        """What the client has earned so far."""
        return Reputation(credit=self.credit, debt=self.debt, rounds=self.rounds_seen)


class ClientKey(models.Model):
    """A client's Ed25519 key, by its thumbprint.

    Old ones stay, so that what they signed can be checked and none is used twice.
    """

    kid = models.CharField(primary_key=True, max_length=43)
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="keys")
    public_key = models.BinaryField()
    state = models.CharField(max_length=7, choices=KeyState, default=KeyState.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["client"], condition=Q(state="active"), name="one_active_key_a_client"),
            models.CheckConstraint(condition=Q(state__in=KeyState.values), name="client_key_state"),
            models.CheckConstraint(condition=Exact(Length("public_key"), 32), name="client_key_has_32_bytes"),
        ]

    def __str__(self) -> str:
        return self.kid


class SpentNonce(models.Model):
    """A nonce that a request has used; kept until its signature has been expired for a while."""

    kid = models.CharField(max_length=43)
    nonce = models.CharField(max_length=22)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kid", "nonce"], name="nonce_spent_once")]
        indexes = [models.Index(fields=["expires_at"], name="nonces_by_expiry")]

    def __str__(self) -> str:
        return self.nonce
