"""Models, versions, rounds, participations and updates.

States change only by `UPDATE ... WHERE state = expected` with a row count of 1; the tables of allowed changes are in
`boltz_core.rounds.states`. Messages (task, policy, descriptor, manifest, receipt) are kept as the JSON that was
signed or agreed.
"""

from typing import TypeVar

import msgspec
from django.db import models
from django.db.models import Q

from boltz_core.rounds.gate import Gate
from boltz_core.rounds.states import RoundState, UpdateState, VerdictState, VersionState
from boltz_protocol import codec
from boltz_protocol.encoding import from_base64url
from boltz_protocol.messages import RoundDescriptor, RoundPolicy, SignedDocument, TaskSpec, TensorSpec, VersionManifest
from boltz_protocol.tensors import Layout

LIVE_ROUND_STATES = [
    RoundState.SCHEDULED,
    RoundState.OPEN,
    RoundState.SEALED,
    RoundState.FROZEN,
    RoundState.AGGREGATING,
    # an operator decides about it before the next round may open
    RoundState.FAILED,
]
IN_WORK_STATES = [UpdateState.RECEIVED, UpdateState.PROCESSING]


T = TypeVar("T")


def read_payload(document: SignedDocument, kind: type[T]) -> T:
    """The message inside a document that we signed ourselves."""
    return codec.decode(from_base64url(document.payload), kind, max_bytes=1 << 24)


def choices(states: type) -> list[tuple[str, str]]:
    """The states of a machine as Django choices."""
    return [(state.value, state.value.replace("_", " ")) for state in states]


class FederatedModel(models.Model):
    """A named thing that is trained together.

    Its mode, task and layout hold for life; its policy may change between rounds.
    """

    name = models.CharField(max_length=64, unique=True)
    mode = models.CharField(max_length=8, default="robust")
    task = models.JSONField(help_text="What the model predicts, from which features (TaskSpec).")
    layout = models.JSONField(help_text="Names and shapes of its tensors, in name order.")
    layout_digest = models.CharField(max_length=64)
    parameters = models.PositiveBigIntegerField()
    policy = models.JSONField(help_text="The rules of its next round (RoundPolicy).")
    gate = models.JSONField(null=True, help_text="What a new version is measured by (Gate); null: by nothing.")
    keeps_open = models.BooleanField(
        "opens rounds by itself", default=False, help_text="Open the next round when one has ended."
    )
    pause_seconds = models.PositiveIntegerField(
        default=0, help_text="Time between the end of a round and the opening of the next."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name = "model"

    def __str__(self) -> str:
        return self.name

    def task_spec(self) -> TaskSpec:
        """The task as a message."""
        return msgspec.convert(self.task, TaskSpec)

    def round_policy(self) -> RoundPolicy:
        """The policy of the next round as a message."""
        return msgspec.convert(self.policy, RoundPolicy)

    def version_gate(self) -> Gate | None:
        """What a new version is measured by; None when every version passes."""
        return msgspec.convert(self.gate, Gate) if self.gate is not None else None

    def tensor_layout(self) -> Layout:
        """The layout of the weights."""
        return Layout.from_specs(msgspec.convert(self.layout, tuple[TensorSpec, ...]))


class ModelVersion(models.Model):
    """One immutable set of weights. The file is named by its SHA-256; number 0 is the seed version."""

    model = models.ForeignKey(FederatedModel, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=choices(VersionState))
    weights_sha256 = models.CharField(max_length=64, db_index=True)
    weights_bytes = models.PositiveBigIntegerField()
    base = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="successors")
    round = models.OneToOneField("Round", null=True, on_delete=models.PROTECT, related_name="version")
    members = models.PositiveIntegerField(default=0)
    step_norm = models.FloatField(null=True, help_text="L2 norm of the step from the base version.")
    optimizer = models.CharField(max_length=64, default="none", help_text="Whose state belongs to it.")
    state_sha256 = models.CharField(max_length=64, blank=True, db_index=True)
    state_bytes = models.PositiveBigIntegerField(default=0)
    manifest = models.JSONField(help_text="The signed manifest.")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["model", "-number"]
        verbose_name = "version"
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="version_number_once"),
            models.UniqueConstraint(
                fields=["model"], condition=Q(state=VersionState.CURRENT), name="one_current_version"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"

    def storage_name(self) -> str:
        """The name of the weights in the `versions` storage."""
        return f"{self.weights_sha256[:2]}/{self.weights_sha256}.safetensors"

    def signed_manifest(self) -> SignedDocument:
        """The signed manifest as a message."""
        return msgspec.convert(self.manifest, SignedDocument)

    def read_manifest(self) -> VersionManifest:
        """The manifest's content; our own signature is not checked again."""
        return read_payload(self.signed_manifest(), VersionManifest)


class Verdict(models.Model):
    """What the gate has found about a version that was published as a candidate.

    Scores that are not finite are kept as null.
    """

    version = models.OneToOneField(ModelVersion, on_delete=models.PROTECT, related_name="verdict")
    state = models.CharField(max_length=12, choices=choices(VerdictState), default=VerdictState.WAITING)
    against = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    metric = models.CharField(max_length=16, blank=True)
    margin = models.FloatField(null=True)
    candidate_score = models.FloatField(null=True)
    current_score = models.FloatField(null=True)
    holdout_sha256 = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_kick_at = models.DateTimeField()
    kicks = models.PositiveSmallIntegerField(default=0)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_kick_at"], condition=Q(state=VerdictState.WAITING), name="verdict_waiting")
        ]

    def __str__(self) -> str:
        return f"verdict on {self.version}"


class Round(models.Model):
    """One collection of updates on top of one base version."""

    model = models.ForeignKey(FederatedModel, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=choices(RoundState), default=RoundState.SCHEDULED)
    base = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="rounds_on_top")
    policy = models.JSONField()
    descriptor = models.JSONField(
        null=True, help_text="The signed descriptor; a new one when the encryption key changes."
    )
    staging_kid = models.CharField(max_length=64, blank=True)
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField()
    sealed_at = models.DateTimeField(null=True)
    frozen_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    shredded_at = models.DateTimeField(null=True, help_text="When its staged updates were destroyed.")
    fence = models.PositiveIntegerField(default=0, help_text="Number of the run that may publish.")
    next_kick_at = models.DateTimeField(null=True, help_text="When its aggregation is asked for again.")
    kicks = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=200, blank=True, help_text="Why it was abandoned or failed.")

    class Meta:
        ordering = ["model", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="round_number_once"),
            models.UniqueConstraint(fields=["model"], condition=Q(state__in=LIVE_ROUND_STATES), name="one_live_round"),
        ]
        indexes = [models.Index(fields=["state"], name="round_state")]

    def __str__(self) -> str:
        return f"{self.model} round {self.number}"

    @property
    def label(self) -> str:
        """How the log names this round."""
        return f"{self.model.name}/{self.number}"

    def round_policy(self) -> RoundPolicy:
        """The policy that was copied when the round opened."""
        return msgspec.convert(self.policy, RoundPolicy)

    def signed_descriptor(self) -> SignedDocument | None:
        """The signed descriptor, once the round has opened."""
        return msgspec.convert(self.descriptor, SignedDocument) if self.descriptor else None

    def read_descriptor(self) -> RoundDescriptor:
        """The descriptor's content; our own signature is not checked again."""
        return read_payload(msgspec.convert(self.descriptor, SignedDocument), RoundDescriptor)


class Participation(models.Model):
    """A client that has joined a round, and the upload id it was given."""

    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="participations")
    client = models.ForeignKey("clients.Client", on_delete=models.PROTECT, related_name="participations")
    upload_id = models.CharField(max_length=64, unique=True)
    joined_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-joined_at"]
        constraints = [models.UniqueConstraint(fields=["round", "client"], name="join_once")]

    def __str__(self) -> str:
        return f"{self.client} in {self.round}"


class Update(models.Model):
    """What one client sent in one round.

    The envelope lies in the inbox under its SHA-256, the staged segments in a file of their own.

    Signature base, signature and public key of the accepted request are kept, so that anyone can check later who sent
    which bytes.
    """

    id = models.CharField(primary_key=True, max_length=64)
    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="updates")
    client = models.ForeignKey("clients.Client", on_delete=models.PROTECT, related_name="updates")
    state = models.CharField(max_length=12, choices=choices(UpdateState), default=UpdateState.RECEIVED)
    code = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    body_sha256 = models.CharField(max_length=64, unique=True)
    body_bytes = models.PositiveBigIntegerField()
    received_at = models.DateTimeField()
    server_kid = models.CharField(max_length=64, db_index=True)
    client_kid = models.CharField(max_length=64)
    public_key = models.BinaryField()
    signature_base = models.BinaryField()
    signature = models.BinaryField()
    receipt = models.JSONField()

    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Claims so far; the last one names its files.")
    lost_leases = models.PositiveSmallIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True, help_text="After a failure of ours: when it may be claimed again.")
    next_kick_at = models.DateTimeField()
    kicks = models.PositiveSmallIntegerField(default=0)

    claims = models.JSONField(null=True)
    examples = models.PositiveBigIntegerField(null=True)
    norm = models.FloatField(null=True, help_text="L2 norm of the update.")
    step_dot = models.FloatField(null=True, help_text="Dot product with the last released step.")
    staged_attempt = models.PositiveSmallIntegerField(null=True)
    staged_key = models.BinaryField(null=True, help_text="Its segments' key, wrapped by the round's staging key.")

    share = models.FloatField(null=True, help_text="Its share of the round's weight.")
    version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="updates")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-received_at"]
        constraints = [models.UniqueConstraint(fields=["round", "client"], name="one_update_per_client_and_round")]
        indexes = [
            models.Index(fields=["round", "state"], name="update_round_state"),
            models.Index(fields=["next_kick_at"], condition=Q(state__in=IN_WORK_STATES), name="update_in_work"),
        ]

    def __str__(self) -> str:
        return f"update {self.id}"
