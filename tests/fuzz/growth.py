"""That a mesh keeps no more of what it was sent than it has accepted: rows, files, keys in Redis, memory."""

import math
from collections import Counter
from dataclasses import dataclass

from benchmarks.processes import proportional_bytes, totals
from tests.fuzz.api import CLIENT

MEMORY = 64 << 20
REDIS_KEYS = 100
# an update's envelope, what is staged of it, and the folders' own
FILES_OF_AN_UPDATE = 4
# what the log holds of one act of a client, and of each minute in which others were refused
ENTRIES_OF_AN_ACT = 4
ENTRIES_OF_A_MINUTE = 12
UPDATES = "updates"
# taken, refused, left to an operator, or gone with their client
DECIDED = {"staged", "rejected", "quarantined", "erased"}
UNSETTLED = "SELECT 1 FROM rounds_update WHERE state IN ('received', 'processing')"


@dataclass(frozen=True)
class Sizes:
    """How much there is."""

    rows: dict[str, int]
    files: int
    redis_keys: int
    memory: float


@dataclass(frozen=True)
class Accepted:
    """What a mesh has said yes to, and for how long it was asked."""

    enrolments: int
    rotations: int
    erasures: int
    updates: int
    signed: int
    seconds: float

    def rows(self):
        """How many rows each table may have got; a table that is not named, none."""
        acts = self.enrolments + self.rotations + self.erasures + self.updates
        entries = ENTRIES_OF_AN_ACT * acts + ENTRIES_OF_A_MINUTE * (2 + math.ceil(self.seconds / 60))
        return {
            "clients_client": self.enrolments,
            "clients_clientkey": self.enrolments + self.rotations,
            "clients_spentnonce": self.signed,
            "rounds_participation": self.enrolments,
            "rounds_update": self.updates,
            "audit_subject": self.enrolments,
            "audit_logentry": entries,
            "audit_logdetail": entries,
        }


def accepted(fuzzing, seconds):
    """What was accepted until now."""
    counts, participants = fuzzing.counts, fuzzing.participants
    known = [n for (_, who, status), n in counts.items() if who == CLIENT and status not in {401, "not sent"}]
    return Accepted(
        enrolments=participants.enrolled + counts["postClients", CLIENT, 201],
        rotations=counts["postMyKeys", CLIENT, 200],
        erasures=counts["deleteMe", CLIENT, 204],
        updates=counts["putUpdate", CLIENT, 202],
        signed=participants.requests_signed + sum(known),
        seconds=seconds,
    )


def sizes_of(mesh):
    """How much a mesh keeps, once it has done what it has to do."""
    mesh.until(lambda: not mesh.count(UNSETTLED), "every update has been decided about")
    tables = [name for (name,) in mesh.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    with mesh.broker() as broker:
        redis_keys = broker.dbsize()
    return Sizes(
        rows={name: mesh.count(f'SELECT 1 FROM "{name}"') for name in tables},
        files=sum(path.is_file() for path in (mesh.directory / "data").rglob("*")),
        redis_keys=redis_keys,
        memory=totals({"web": lambda: [mesh.processes["web"].pid]}, proportional_bytes)["web"],
    )


def decided_updates(mesh):
    """How many updates the workers have brought to which state."""
    states = mesh.rows("SELECT state, count(*) FROM rounds_update GROUP BY state")
    return Counter({(UPDATES, "the workers", state): n for state, n in states})


def undecided(decided):
    """Updates whose content the workers could neither take nor refuse, in words."""
    return [f"{n} updates are {state}" for (_, _, state), n in decided.items() if state not in DECIDED]


def growth(before, after, accepted):
    """What has grown by more than was accepted, in words."""
    allowed = accepted.rows()
    found = [
        f"{name}: {count - before.rows[name]} rows more; {allowed.get(name, 0)} were accepted"
        for name, count in after.rows.items()
        if count - before.rows[name] > allowed.get(name, 0)
    ]
    for what, most in (
        ("files", FILES_OF_AN_UPDATE * accepted.updates),
        ("redis_keys", REDIS_KEYS),
        ("memory", MEMORY),
    ):
        more = getattr(after, what) - getattr(before, what)
        if more > most:
            found.append(f"{what}: {more:.0f} more; at most {most} is allowed")
    return found


def partial_files(mesh):
    """What is left of bodies that did not arrive whole."""
    return sorted(str(path) for path in (mesh.directory / "data").rglob("*.part"))


def ended_programs(mesh):
    """Programs that did not survive, in words."""
    return [f"{name} has ended" for name, process in mesh.all_processes().items() if not process.is_running()]
