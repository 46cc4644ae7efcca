"""Rounds of a model that is wide enough for several shards, and what workers do to them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from django.db.models.functions import Now

from apps.aggregation import services as aggregation
from apps.aggregation.models import Run
from apps.rounds import services, stores, versions
from apps.rounds.models import Round, Update
from boltz_federated import starter_models
from boltz_protocol.messages import RoundPolicy, TaskSpec
from tests.apps.hostile_envelopes import CLAIMS, seal, send, take_place
from tests.apps.signed_requests import enrolled
from tests.apps.unchanged import files

SEGMENT = 16_384
SHARDS = 3
PARAMETERS = SHARDS * SEGMENT + 848  # the last segment of the last shard is short
MAX_NORM = 0.5
_names = itertools.count()


@dataclass
class WideRounds:
    """Models of so many parameters, their clients and rounds."""

    http: httpx.Client
    parameters: int = PARAMETERS
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def vectors(self, count: int) -> list[np.ndarray]:
        made = [self.rng.normal(size=self.parameters) for _ in range(count)]
        return [(MAX_NORM * 0.9 * vector / np.linalg.norm(vector)).astype(np.float32) for vector in made]

    def freeze(
        self, vectors: Sequence[np.ndarray], *, examples: Sequence[int] = (), name: str = "", **policy: Any
    ) -> Round:
        """A frozen round with these updates, each by a client of its own."""
        content = starter_models.read("boltz-core")
        request = services.ModelRequest(
            name=name or f"wide-{next(_names)}",
            task=msgspec.convert(
                content["task"] | {"kind": "custom", "features": [], "center": [], "scale": []}, TaskSpec
            ),
            policy=msgspec.convert(
                content["policy"] | {"quorum": 1, "target": len(vectors), "max_norm": MAX_NORM} | policy, RoundPolicy
            ),
            weights={"w": np.zeros(self.parameters, np.float32)},
        )
        model = services.create_model(request, actor="test")
        round_ = services.open_round(model)
        for vector, count in itertools.zip_longest(vectors, examples, fillvalue=60):
            place = take_place(enrolled(self.http, f"client-{next(_names)}"), model.tensor_layout(), model=model.name)
            claims = msgspec.structs.replace(CLAIMS, examples=count)
            assert send(place, seal(place, vector, claims=claims)).status_code == 202
            services.process_update(place.upload_id)
        round_.refresh_from_db()
        assert round_.state == "frozen"
        return round_


def weights_of(round_: Round) -> np.ndarray:
    """The weights that a round has published."""
    round_.refresh_from_db()
    reader = versions.WeightsReader(round_.version, round_.model.tensor_layout())
    try:
        return reader.read(0, round_.model.parameters)
    finally:
        reader.close()


def run_of(round_: Round) -> Run:
    """The newest run of a round."""
    return Run.objects.select_related("round__model").filter(round=round_).order_by("-fence").first()


def lose(run: Run) -> None:
    """Its worker is gone, and its lease has run out."""
    Run.objects.filter(pk=run.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


def members_of(round_: Round) -> list[Update]:
    """A round's updates in the order of their ids."""
    return list(Update.objects.filter(round=round_).order_by("pk"))


def combine_all(run: Run) -> None:
    """What the workers do with the shards of a run."""
    for number in range(run.shards):
        aggregation.combine_shard(run.pk, number)


def finish(round_: Round) -> Round:
    """What the workers do with the newest run of a round."""
    run = run_of(round_)
    combine_all(run)
    aggregation.finish_run(run.pk)
    round_.refresh_from_db()
    return round_


def staged(update: Update) -> Path:
    """The staged file of an update."""
    return stores.staged_path(update.round_id, update.pk, update.staged_attempt)


def step_files() -> list[str]:
    """The combined ranges that lie on the disk."""
    return [name for name in files() if name.startswith("runs/")]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
