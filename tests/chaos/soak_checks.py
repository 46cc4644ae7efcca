"""What must hold for every round of a soak that has ended: from the clients' journals, the database and the files.

Numbers of reliability.md: I1 a promise is kept, I2 the version follows to the bit from what was sent, I3 nothing bad is
in it and nothing good is missing, I4 one version a round, I6 one log entry a transition. (I5, privacy ledgers, is for
modes that do not exist yet.)
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy

from boltz_protocol import codec
from boltz_protocol.encoding import from_base64url
from boltz_protocol.messages import Receipt
from tests.chaos.soak_ledger import OWNERS
from tests.integration.recomputation import Contribution, expected_weights, file_digest

ENDED = """
    SELECT r.id, m.name, r.number, r.state, r.policy, v.weights_sha256, r.shredded_at IS NOT NULL OR
           (r.policy->>'replay_window_days')::int = 0, extract(epoch FROM r.sealed_at), extract(epoch FROM r.frozen_at)
    FROM rounds_round r
    JOIN rounds_federatedmodel m ON m.id = r.model_id
    LEFT JOIN rounds_modelversion v ON v.id = r.base_id
    WHERE r.state IN ('published', 'abandoned') ORDER BY r.id
"""
UPDATES = """
    SELECT u.id, u.state, u.code, u.body_sha256, u.version_id, u.share, c.name, c.state, c.pseudonym
    FROM rounds_update u JOIN clients_client c ON c.id = u.client_id WHERE u.round_id = %s
"""
ENTRIES = "SELECT type, subject, count(*) FROM audit_logentry WHERE round = %s GROUP BY type, subject"
STEPS = ("round.scheduled", "round.opened", "round.sealed", "round.frozen", "round.published", "version.published")
# of a client that may not take part any more when its round is frozen
BARRED = "client_suspended"
OF_ABANDONED = ("round.opened", "round.sealed", "round.frozen")


@dataclass(frozen=True)
class EndedRound:
    """A round that has ended."""

    id: int
    model: str
    number: int
    state: str
    policy: dict
    base_sha256: str | None
    shredded: bool
    sealed_at: Any
    frozen_at: Any

    @property
    def label(self):
        return f"{self.model}/{self.number}"


@dataclass(frozen=True)
class UpdateRow:
    """What the database says of an update."""

    id: str
    state: str
    code: str
    body_sha256: str
    version_id: int | None
    share: float | None
    client: str
    client_state: str
    pseudonym: str


class RoundChecks:
    """The checks of single rounds."""

    def __init__(self, soak):
        self._mesh, self._ledger, self._clients = soak.mesh, soak.ledger, soak.clients

    def ended_rounds(self):
        """Every round that has ended."""
        return [EndedRound(*row) for row in self._mesh.rows(ENDED)]

    def check(self, round_):
        """Everything that must hold for a round that has ended."""
        sent = self._ledger.sendings(round_.model, round_.number)
        rows = {row[0]: UpdateRow(*row) for row in self._mesh.rows(UPDATES, round_.id)}
        for row in rows.values():
            self._check_fate(round_, row, sent)
        for sending in sent.values():
            self._check_promises(round_, sending, rows)
        self._check_log(round_, rows)
        versions = self._mesh.rows(
            "SELECT id, weights_sha256, members FROM rounds_modelversion WHERE round_id = %s", round_.id
        )
        assert len(versions) == (round_.state == "published"), f"I4 {round_.label}: {len(versions)} versions"
        if versions:
            self._check_version(round_, versions[0], rows, sent)

    def _check_fate(self, round_, row, sent):
        """I3, I7: what became of one update is what must become of it."""
        said = f"{round_.label} ({round_.state}): {row}"
        assert row.id in sent, f"nobody has sent {said}"
        sending = sent[row.id]
        assert row.body_sha256 in sending.digests, f"I1 other bytes than were sent: {said}"
        assert row.state in {"aggregated", "rejected", "expired", "erased"}, f"I7 undecided: {said}"
        if row.state == "erased":
            assert row.client_state == "erased", f"I3 erased, but its client is not: {said}"
        if row.state == "rejected":
            assert not sending.good, f"I3 a good update was rejected: {said}"
        if row.state == "aggregated":
            self._check_may_count(round_, row, sending, said)
        if row.state == "expired" and round_.state == "published":
            assert row.code == BARRED, f"I3 left out: {said}"
            assert self._ledger.may_be_out(sending.client, round_.frozen_at), f"I3 nobody has kept it out: {said}"

    def _check_may_count(self, round_, row, sending, said):
        assert sending.good, f"I3 a bad update ({sending.kind}) was included: {said}"
        assert round_.state == "published", f"I4 aggregated without a version: {said}"
        out = self._ledger.is_out(sending.client, float(round_.sealed_at), float(round_.frozen_at))
        assert not out, f"I3 its client was out when the round was frozen: {said}"

    def _check_promises(self, round_, sending, rows):
        """I1: what was promised is in the database and on the disk, with the digest of the receipt."""
        for document in list(sending.receipts):
            receipt = codec.decode(from_base64url(document.payload), Receipt)
            said = f"I1 {round_.label}: {receipt}"
            assert (receipt.upload_id, receipt.model, receipt.round) == (
                sending.upload_id,
                sending.model,
                sending.number,
            ), said
            row = rows.get(sending.upload_id)
            assert row is not None, f"{said} was promised, and is gone"
            assert row.body_sha256 == receipt.body_sha256, said
            path = self._mesh.directory / "data" / "inbox" / receipt.body_sha256[:2] / receipt.body_sha256
            if not round_.shredded and row.client_state != "erased" and not self._may_be_erased(sending):
                assert hashlib.sha256(path.read_bytes()).hexdigest() == receipt.body_sha256, said

    def _may_be_erased(self, sending):
        return bool(self._ledger.acts(sending.client, "erase", "leave"))

    def _check_log(self, round_, rows):
        """I6: each transition is in the log once."""
        entries, subjects = {}, {}
        for type_, subject, count in self._mesh.rows(ENTRIES, round_.label):
            entries[type_] = entries.get(type_, 0) + count
            subjects[type_, subject] = count
        said = f"I6 {round_.label} ({round_.state}): {entries}"
        if round_.state == "published":
            assert {step: entries.get(step) for step in STEPS} == dict.fromkeys(STEPS, 1), said
            assert "round.abandoned" not in entries, said
        else:
            assert (entries.get("round.scheduled"), entries.get("round.abandoned")) == (1, 1), said
            assert all(entries.get(step, 0) <= 1 for step in OF_ABANDONED), said
            assert "round.published" not in entries, said
            assert "version.published" not in entries, said
        assert "round.failed" not in entries, said
        assert "member.removed" not in entries, said
        runs = self._mesh.count("SELECT 1 FROM aggregation_run WHERE round_id = %s", round_.id)
        assert entries.get("run.begun", 0) == runs, f"{said}, {runs} runs"
        joined = self._mesh.count("SELECT 1 FROM rounds_participation WHERE round_id = %s", round_.id)
        assert entries.get("round.joined", 0) == joined, f"{said}, {joined} have joined"
        assert entries.get("update.received", 0) == len(rows), f"{said}, {len(rows)} updates"
        for row in rows.values():
            self._check_entries(row, subjects, said)

    def _check_entries(self, row, subjects, said):
        assert subjects.get(("update.received", row.pseudonym)) == 1, f"{said}: received {row}"
        decided = subjects.get(("update.decided", row.pseudonym), 0)
        if row.code == BARRED:
            # staged, and then left out
            right = {2}
        elif row.state in {"aggregated", "rejected"}:
            right = {1}
        else:
            # its round was abandoned, or its client erased, before it was decided or after
            right = {0, 1}
        assert decided in right, f"{said}: decided {decided} times: {row}"

    def _check_version(self, round_, version, rows, sent):
        """I2, I4: the version's file follows to the bit from what its members have sent."""
        version_id, digest, members = version
        said = f"I2 {round_.label}"
        decisions = self._mesh.rows(
            "SELECT decision FROM aggregation_run WHERE round_id = %s AND state = 'published'", round_.id
        )
        assert len(decisions) == 1, f"{said}: {len(decisions)} runs have published"
        included = [member["update_id"] for member in decisions[0][0]["members"]]
        assert len(included) == len(set(included)) == members, f"{said}: {included}"
        counted = {row.id for row in rows.values() if row.state == "aggregated" and row.version_id == version_id}
        assert counted == set(included), f"{said}: decided {sorted(included)}, counted {sorted(counted)}"
        base = self._weights(round_.base_sha256)
        contributions = [Contribution(sent[id_].delta(base), sent[id_].examples) for id_ in included]
        rules = {name: round_.policy[name] for name in ("max_norm", "example_cap")}
        expected = expected_weights(base, contributions, **rules)
        weights = self._weights(digest)
        np.testing.assert_array_equal(weights, expected, err_msg=said)
        assert digest == file_digest({"w": expected}), said
        self._check_canaries(said, weights - base, [sent[id_].index for id_ in included])

    def _check_canaries(self, said, step, members):
        """I2: at a client's own places something changed if it is in, and nothing if it is not."""
        owner = np.arange(len(step)) % OWNERS
        for index in range(self._clients):
            values = step[owner == index]
            assert bool(values.any()) == (index in members), f"{said}: the canary of client {index}, {members}"

    def _weights(self, digest):
        path = self._mesh.directory / "data" / "versions" / digest[:2] / f"{digest}.safetensors"
        raw = path.read_bytes()
        assert hashlib.sha256(raw).hexdigest() == digest, f"I2 the version {digest} is damaged"
        return safetensors.numpy.load(raw)["w"]
