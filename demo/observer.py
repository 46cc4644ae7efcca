"""What the demo sees of the mesh: rounds through the eyes of an observer client, and the scores of each version."""

from boltz_client import FederatedClient, PulledModel
from boltz_protocol.messages import RoundView, TaskSpec
from demo import federated
from demo.metrics import Scores
from demo.outcome import Outcome, RoundLine
from demo.shares import Share

ENDED_WITHOUT_VERSION = ("abandoned", "failed")


class RoundLostError(Exception):
    """A round ended without a version, so the demo cannot go on."""


class Observer:
    """Reads the rounds of one model and scores each version as it comes out.

    Args:
        client: enrolled; it never takes part.
        model: which one.
        task: what the model predicts; the manifest of every version must say the same.
    """

    def __init__(self, client: FederatedClient, *, model: str, task: TaskSpec) -> None:
        self._client, self._model, self._task = client, model, task

    def look(self, outcome: Outcome) -> RoundView | None:
        """Add a line for each round that was published since the last look; returns the round that still runs, if any.

        Raises:
            RoundLostError: a round of ours was abandoned or failed.
        """
        views = {
            view.round: view for view in self._client.rounds(self._model, limit=outcome.rounds - len(outcome.lines) + 1)
        }
        for number in range(len(outcome.lines) + 1, outcome.rounds + 1):
            view = views.get(number)
            if view is None or view.version is None:
                return self._running(view)
            outcome.lines.append(self._line(view, view.version, outcome.shares))
        return None

    def _running(self, view: RoundView | None) -> RoundView | None:
        if view is not None and view.state in ENDED_WITHOUT_VERSION:
            counts = f"{view.accepted} updates accepted, {view.staged} staged, rejected {view.rejected or 'none'}"
            raise RoundLostError(f"{self._model} round {view.round} was {view.state}: {counts}.")
        return view

    def _line(self, view: RoundView, version: int, shares: tuple[Share, ...]) -> RoundLine:
        return RoundLine(
            number=view.round,
            joined=view.joined,
            accepted=view.accepted,
            staged=view.staged,
            rejected=dict(view.rejected),
            version=version,
            step_norm=view.step_norm or 0.0,
            scores=self._scores(self._client.pull(self._model, version), shares),
        )

    def _scores(self, pulled: PulledModel, shares: tuple[Share, ...]) -> Scores:
        if pulled.manifest.task != self._task:
            raise RoundLostError(
                f"version {pulled.manifest.number} of {self._model} is for another task than the demo's"
            )
        return federated.scores(shares, self._task, pulled.weights)
