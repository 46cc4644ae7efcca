"""Clients of a soak: each a thread with homes of its own, that takes part in every round it finds, well or badly."""

import functools
import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from boltz_client import open_round, participation, update
from boltz_client.clock import Clock
from boltz_client.errors import (
    AlreadySubmittedError,
    LaterError,
    NotAcceptedError,
    RefusedError,
    RoundNotOpenError,
    ServerUnreachableError,
)
from boltz_client.update import TrainedUpdate
from boltz_protocol.messages import Claims
from demo.misbehaviour import BODIES
from tests.chaos import soak_plan
from tests.chaos.soak_ledger import Sending, known_vector
from tests.integration.running_mesh import KINDS

BREATH_SECONDS = 0.4
# no fault of the mesh: a round that has just ended, a key that has just been rotated
USUAL = {"unknown_round", "encryption_key_retired", "round_sealed", "round_not_open", "unknown_update"}


@dataclass(frozen=True)
class Adding:
    """A trainer that adds a known vector."""

    vector: np.ndarray

    def train(self, weights, X, y):
        return {"w": weights["w"] + self.vector}

    def evaluate(self, weights, X, y):
        return {}


class Participant:
    """One client, life after life: who is erased or revoked comes back under another name."""

    def __init__(self, soak, index, url, breaks=None):
        self._soak, self._index, self._url, self._breaks = soak, index, url, breaks
        self._lives = itertools.count()
        self._begin_life()

    def run(self):
        """Take part until the soak is over."""
        over = self._soak.journal.over
        with self._soak.journal.judging(f"client {self._index}"):
            for model in itertools.cycle(self._soak.models):
                if over.wait(BREATH_SECONDS):
                    break
                self._turn(model)
            self._client.close()

    def _note(self, what, **details):
        self._soak.journal.write(self.name, what, **details)

    def _begin_life(self):
        self.name = f"soak-{self._index}-{next(self._lives)}"
        self._soak.names[self._index] = self.name
        self._done, self._bodies, self._enrolled = set(), {}, False
        self._restart()

    def _restart(self):
        # its pauses between attempts end with the soak
        clock = Clock(sleep=self._soak.journal.over.wait)
        self._client = self._soak.mesh.new_client(self.name, url=self._url, clock=clock)

    def _turn(self, model):
        try:
            if not self._enrolled:
                self._client.register("eu-west-1", KINDS[self._index % len(KINDS)])
                self._enrolled = True
            view = self._client.round(model)
            if view.state == "open" and (model, view.round) not in self._done:
                self._take_part(model, view.round)
        except NotAcceptedError:
            self._find_out()
        except (ServerUnreachableError, LaterError) as error:
            self._note("waits", code=error.code)
        except RefusedError as error:
            if not self._enrolled and self._was_removed():
                self._begin_life()
            elif error.code not in USUAL:
                raise

    def _was_removed(self):
        return bool(self._soak.ledger.acts(self.name, "revoke", "erase", "leave"))

    def _take_part(self, model, number):
        does = soak_plan.behaviour(self._soak.seed, client=self.name, model=model, number=number)
        if self._soak.journal.over.wait(does.pause_seconds):
            return
        if self._breaks is not None:
            self._breaks.arm(does.break_after, 4 * self._soak.models[model])
        self._note("sends", model=model, round=number, kind=does.kind)
        sending = self._sending(model, number, does)
        try:
            self._send(sending)
        except (RoundNotOpenError, RefusedError) as error:
            expected = sending.kind == "wrong_base" and error.code == "wrong_base_version"
            if error.code not in USUAL and not expected:
                raise
            self._note("is refused", model=model, round=number, code=error.code)
        self._done.add((model, number))
        self._bodies.pop((model, number), None)
        self._do_afterwards(does.afterwards)

    def _sending(self, model, number, does):
        def make():
            draw = functools.partial(
                known_vector,
                self._soak.seed,
                client=self.name,
                index=self._index,
                model=model,
                number=number,
                parameters=self._soak.models[model],
                clients=self._soak.clients,
            )
            return Sending(self.name, self._index, model, number, does.kind, does.examples, draw)

        return self._soak.ledger.sending(self.name, model, number, make)

    def _send(self, sending):
        if sending.kind == "honest":
            self._send_honestly(sending)
            return
        body, place = self._sealed(sending)
        if sending.kind == "late":
            self._wait_for_the_seal(sending)
        receipt = self._put(body, place)
        assert sending.kind not in {"late", "wrong_base"}, f"{sending.kind} was accepted: {place}"
        sending.receipts.append(receipt)
        self._note("is promised", model=sending.model, round=sending.number, upload_id=place.upload_id)
        if sending.kind == "twice":
            self._send_again(sending, body, place)

    def _send_honestly(self, sending):
        data = {"X": np.zeros((sending.examples, 1)), "y": np.zeros(sending.examples)}
        result = self._client.participate_in_round(sending.model, data, sending.number, trainer=Adding(sending.vector))
        self._note("is promised", model=sending.model, round=sending.number, upload_id=result.upload_id)

    def _send_again(self, sending, body, place):
        """The same bytes get the same receipt, other bytes none."""
        assert self._put(body, place) == sending.receipts[0], "one upload has two receipts"
        other = self._seal(sending, place)
        try:
            self._put(other, place)
        except AlreadySubmittedError:
            return
        raise AssertionError(f"other bytes were accepted under the id of {place}")

    def _put(self, body, place):
        digest = hashlib.sha256(body).digest()
        return self._client._member().endpoints.send_update(place, body, body_sha256=digest)

    def _sealed(self, sending):
        """The sealed update and its place: the same bytes in each attempt."""
        key = (sending.model, sending.number)
        if key not in self._bodies:
            place = self._client._member().endpoints.join(*key)
            body = self._seal(sending, place)
            sending.digests.add(hashlib.sha256(body).hexdigest())
            sending.upload_id = place.upload_id
            self._bodies[key] = body, place
        return self._bodies[key]

    def _seal(self, sending, place):
        member = self._client._member()
        view = member.endpoints.round(sending.model, sending.number)
        descriptor = open_round.descriptor_in(member, view, model=sending.model, number=sending.number)
        layout = participation.pull_base(member, descriptor).layout
        if sending.kind in BODIES:
            return BODIES[sending.kind](member, descriptor, place, layout)
        if sending.kind == "wrong_base":
            descriptor = structs.replace(descriptor, base_sha256=hashlib.sha256(b"another base").hexdigest())
        claims = Claims(
            v=1, examples=sending.examples, feature_coverage=1.0, invalid_share=0.0, metrics={}, local_noise=None
        )
        trained = TrainedUpdate(sending.vector, layout, claims, norm=0.0, clipped=False, metrics={})
        created_at = member.clock.utc()
        return update.seal_update(
            trained, descriptor, place, client_kid=member.identity.kid, created_at=created_at
        ).body

    def _wait_for_the_seal(self, sending):
        soak = self._soak
        while soak.round_state(sending.model, sending.number) == "open":
            if soak.journal.over.wait(BREATH_SECONDS):
                raise RoundNotOpenError("the soak is over before the round")

    def _do_afterwards(self, what):
        if what == "stay":
            return
        self._note(what)
        if what == "rotate_key":
            self._client.rotate_key()
        elif what == "leave":
            with self._soak.ledger.act("leave", self.name):
                self._client.leave()
            self._begin_life()
        else:
            self._client.close()
            self._restart()

    def _find_out(self):
        """Not accepted: by a rotation whose answer was lost, or for good; the latter only if somebody has seen to it."""
        self._client.close()
        self._restart()
        if not self._enrolled:
            return
        try:
            self._client.record()
        except NotAcceptedError:
            assert self._was_removed(), f"{self.name} is not accepted any more, though nobody has removed it"
            self._note("is removed")
            self._begin_life()
        except (ServerUnreachableError, LaterError):
            self._note("waits to find out")
