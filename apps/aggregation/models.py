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
    decision = models.JSONField(help_text="Membership, order, weights and rule: everything a replay needs.")
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


class Shard(models.Model):
    """The new weights of one parameter range, written once; they lie in a file."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="results")
    number = models.PositiveIntegerField()
    start = models.PositiveBigIntegerField()
    stop = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    step_square = models.FloatField(help_text="Squared L2 norm of the step in this range.")
    finished_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["run", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="shard_written_once")]

    def __str__(self) -> str:
        return f"shard {self.number} of {self.run}"


class Heartbeat(models.Model):
    """When a process of a kind was last seen alive."""

    kind = models.CharField(max_length=32, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["kind"]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%H:%M:%S}"
