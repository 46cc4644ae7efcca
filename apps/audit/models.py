"""The log's entries, the details that they commit to, and the pseudonyms that stand in them for people.

Entries carry no sequence: commits become visible in another order than they began, so whoever follows the log must
never ask for "everything after the last id".
"""

from django.conf import settings
from django.db import models
from django.db.models import Q


class Subject(models.Model):
    """A person or firm in the log: a random pseudonym, and the key that its details are sealed under."""

    pseudonym = models.CharField(primary_key=True, max_length=64)
    kind = models.CharField(max_length=32)
    kid = models.CharField(max_length=43, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    forget_by = models.CharField(max_length=128, null=True, blank=True, help_text="who asked that it be forgotten")
    forgotten_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(forgotten_at__isnull=True) | Q(forget_by__isnull=False), name="forgotten_on_request"
            ),
        ]

    def __str__(self) -> str:
        return self.pseudonym


class LogEntry(models.Model):
    """One leaf, as it will be hashed. The other columns repeat what it says, to be searched by."""

    id = models.CharField(primary_key=True, max_length=64)
    type = models.CharField(max_length=64)
    actor = models.CharField(max_length=128)
    subject = models.CharField(max_length=64, null=True, blank=True)
    round = models.CharField(max_length=128, null=True, blank=True)
    leaf = models.BinaryField()
    created_at = models.DateTimeField()
    fold_key = models.CharField(
        max_length=64,
        null=True,
        blank=True,
        unique=True,
        help_text="what happens again under this key is not logged again",
    )

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name_plural = "log entries"
        indexes = [
            models.Index(fields=["-created_at"], name="log_by_time"),
            models.Index(fields=["type", "-created_at"], name="log_by_type"),
            models.Index(fields=["subject", "-created_at"], name="log_by_subject"),
            models.Index(fields=["round", "-created_at"], name="log_by_round"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class LogDetail(models.Model):
    """What a leaf commits to: salt and canonical JSON; sealed under the subject's key, clear where there is none."""

    entry = models.OneToOneField(LogEntry, primary_key=True, on_delete=models.PROTECT, related_name="detail")
    kid = models.CharField(max_length=43, null=True, blank=True)
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"detail of {self.entry_id}"


class Operator(models.Model):
    """The pseudonym under which a user of the admin acts in the log; goes with the user."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="operator"
    )
    pseudonym = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return self.pseudonym
