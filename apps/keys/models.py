"""The mesh's own keys, as everyone may know them. Their private halves lie in the key store."""

from typing import Any

import msgspec
from django.db import models
from django.db.models import Q

from boltz_protocol.messages import Jwk


class KeyUse(models.TextChoices):
    """What a key is for, in JWK's words."""

    SIGNING = "sig", "signing"
    ENCRYPTION = "enc", "encryption"


class KeyState(models.TextChoices):
    """`retired`: no longer handed out, but its private half opens what came before. `destroyed`: that half is gone."""

    CURRENT = "current", "current"
    RETIRED = "retired", "retired"
    DESTROYED = "destroyed", "destroyed"


class MeshKey(models.Model):
    """One key of the mesh; `kid` is its RFC 7638 thumbprint."""

    kid = models.CharField(primary_key=True, max_length=43)
    use = models.CharField(max_length=3, choices=KeyUse)
    alg = models.CharField(max_length=16)
    public = models.JSONField(help_text="the public half: the JWK's own fields")
    state = models.CharField(max_length=9, choices=KeyState, default=KeyState.CURRENT)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField(null=True, blank=True)
    succession = models.JSONField(null=True, blank=True, help_text="the old key's signed word for this one")

    class Meta:
        ordering = ["not_before"]
        constraints = [
            models.CheckConstraint(condition=Q(use__in=KeyUse.values), name="mesh_key_use"),
            models.CheckConstraint(condition=Q(state__in=KeyState.values), name="mesh_key_state"),
            models.UniqueConstraint(fields=["use"], condition=Q(state="current"), name="one_current_mesh_key_a_use"),
        ]

    def __str__(self) -> str:
        return f"{self.get_use_display()} key {self.kid[:8]}"

    def jwk(self) -> Jwk:
        """The public key as clients read it."""
        validity: dict[str, Any] = {
            "state": str(self.state),
            "not_before": self.not_before,
            "not_after": self.not_after,
        }
        return msgspec.convert(self.public | validity, Jwk)
