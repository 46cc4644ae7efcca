"""Runs, their shards, and the heartbeats of processes."""

from django.db import models

RUN_STATES = [
    ("running", "running"),
    ("published", "published"),
    ("superseded", "superseded"),
    ("failed", "failed"),
]


class Run(models.Model):
    """One attempt to aggregate a round. The round's fence names the one run that may publish."""

    round = models.ForeignKey("rounds.Round", on_delete=models.PROTECT, related_name="runs")
    fence = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=RUN_STATES, default="running")
    decision = models.JSONField(
        null=True,
        help_text="Membership, order, weights and rule: all that a replay needs. None while its geometry is measured.",
    )
    members = models.PositiveIntegerField()
    shards = models.PositiveIntegerField()
    lease_expires_at = models.DateTimeField()
    next_kick_at = models.DateTimeField()
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-started_at"]
        constraints = [models.UniqueConstraint(fields=["round", "fence"], name="one_run_per_fence")]

    def __str__(self) -> str:
        return f"run {self.fence} of {self.round}"


class Phase(models.TextChoices):
    """The two passes over the staged updates. Measuring comes first, for rules that look at how members lie."""

    MEASURE = "measure", "measure"
    COMBINE = "combine", "combine"


class Shard(models.Model):
    """What a pass has made of one parameter range, written once: geometry, or new weights. They lie in a file."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="results")
    phase = models.CharField(max_length=8, choices=Phase.choices, default=Phase.COMBINE)
    number = models.PositiveIntegerField()
    start = models.PositiveBigIntegerField()
    stop = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    state_sha256 = models.JSONField(default=dict, help_text="The digest of each vector of the optimizer's new state.")
    step_square = models.FloatField(default=0.0, help_text="Squared L2 norm of the step in this range.")
    finished_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["run", "phase", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "phase", "number"], name="shard_written_once")]

    def __str__(self) -> str:
        return f"shard {self.number} ({self.phase}) of {self.run}"


class Heartbeat(models.Model):
    """When a process of a kind was last seen alive."""

    kind = models.CharField(max_length=32, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["kind"]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%H:%M:%S}"
