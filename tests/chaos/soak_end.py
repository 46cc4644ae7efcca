"""What must hold once everything runs again and nobody does anything any more: nothing is stuck, nothing is left over."""

import itertools

import psycopg2
import redis

from boltz_core.rounds.states import CLIENT
from local_stack.processes import wait_until
from tests.chaos.broker_content import everything_in
from tests.integration.running_mesh import QUEUES

RECOVERY_SECONDS = 120.0
# I7: rows that wait for something, or that say that somebody is needed
WAITING = {
    "rounds that have not ended": "SELECT id, state FROM rounds_round WHERE state NOT IN ('published', 'abandoned')",
    "updates without a fate": (
        "SELECT id, state FROM rounds_update WHERE state NOT IN ('aggregated', 'rejected', 'expired', 'erased')"
    ),
    "runs that have not ended": "SELECT id, state FROM aggregation_run WHERE state = 'running'",
    "subjects to forget": "SELECT pseudonym FROM audit_subject WHERE forget_by IS NOT NULL AND forgotten_at IS NULL",
    "leftovers of who was erased": (
        "SELECT u.id, u.state FROM rounds_update u JOIN clients_client c ON c.id = u.client_id"
        " WHERE c.state = 'erased' AND (u.staged_key IS NOT NULL OR u.state NOT IN ('aggregated', 'erased'))"
    ),
    "rounds to shred": (
        "SELECT id FROM rounds_round WHERE shredded_at IS NULL AND (policy->>'replay_window_days')::int = 0"
    ),
}
CLIENT_STEPS = {
    "client.enrolled": "active",
    "client.suspended": "suspended",
    "client.resumed": "active",
    "client.revoked": "revoked",
    "client.erased": "erased",
}
CLOSE = "from apps.rounds.models import FederatedModel; FederatedModel.objects.update(keeps_open=False)"


def wait_until_settled(mesh, journal):
    """I7: no model opens another round, and then everything comes to its end, without a hand."""
    mesh.manage("shell", "-v0", "-c", CLOSE)
    journal.write("soak", "lets everything come to its end")
    if not wait_until(lambda: not waiting(mesh), seconds=RECOVERY_SECONDS):
        raise AssertionError(f"I7 still there {RECOVERY_SECONDS:.0f} s after the last fault: {waiting(mesh)}")


def waiting(mesh):
    """What has not come to its end."""
    try:
        found = {what: rows for what, query in WAITING.items() if (rows := mesh.rows(query))}
        return found | {queue: count for queue in QUEUES if (count := mesh.queued(queue))}
    except (psycopg2.OperationalError, redis.ConnectionError, redis.TimeoutError) as error:
        return {"a server": str(error)}


def check_end(mesh, names):
    """What is not about single rounds: versions, clients, keys, and that nobody was named."""
    check_versions(mesh)
    check_clients(mesh)
    check_keys(mesh)
    check_nobody_was_named(mesh, names)


def check_versions(mesh):
    """I4: the versions of a model are numbered without a gap, each on top of the one before; the last one is current."""
    rows = mesh.rows(
        "SELECT v.model_id, v.number, v.state, b.number FROM rounds_modelversion v"
        " LEFT JOIN rounds_modelversion b ON b.id = v.base_id ORDER BY v.model_id, v.number"
    )
    for model in {row[0] for row in rows}:
        versions = [row[1:] for row in rows if row[0] == model]
        last = len(versions) - 1
        for number, (found, state, base) in enumerate(versions):
            right = (number, "current" if number == last else "superseded", number - 1 if number else None)
            assert (found, state, base) == right, f"I4 model {model}: {versions}"


def check_clients(mesh):
    """I6: what the log tells of each client's standing is a way through the table of states, to where it stands."""
    steps = mesh.rows(
        "SELECT subject, type FROM audit_logentry WHERE type = ANY(%s) ORDER BY created_at", list(CLIENT_STEPS)
    )
    for pseudonym, state in mesh.rows("SELECT pseudonym, state FROM clients_client"):
        way = [CLIENT_STEPS[type_] for subject, type_ in steps if subject == pseudonym]
        said = f"I6 {pseudonym} is {state}, and the log says {way}"
        assert way, said
        assert (way[0], way[-1]) == ("active", state), said
        assert all(pair in CLIENT.transitions for pair in itertools.pairwise(way)), said


def check_keys(mesh):
    """I6: each key is in the log once, those of the mesh and those of clients."""
    for use in ("enc", "sig"):
        made = mesh.count("SELECT 1 FROM keys_meshkey WHERE use = %s", use) - 1
        logged = sum(f'"use":"{use}"'.encode() in bytes(row[0]) for row in mesh.rows(ROTATED))
        assert logged == made, f"I6 {made} mesh keys ({use}) came after the first, {logged} are in the log"
    rotations = mesh.rows(
        "SELECT c.pseudonym, count(*) - 1, (SELECT count(*) FROM audit_logentry e"
        " WHERE e.type = 'client.key_rotated' AND e.subject = c.pseudonym)"
        " FROM clients_client c JOIN clients_clientkey k ON k.client_id = c.id GROUP BY c.pseudonym"
    )
    assert [row for row in rotations if row[1] != row[2]] == [], "I6 rotations of clients' keys"


ROTATED = (
    "SELECT d.content FROM audit_logentry e JOIN audit_logdetail d ON d.entry_id = e.id WHERE e.type = 'key.rotated'"
)


def check_nobody_was_named(mesh, names):
    """I8: no log of a program and nothing in Redis holds a client's name."""
    for program, process in mesh.all_processes().items():
        said = process.log.read_text(errors="replace")
        assert [name for name in names if name in said] == [], f"I8 the log of {program}"
    with mesh.broker() as broker:
        content = everything_in(broker)
    assert [name for name in names if name.encode() in content] == [], "I8 Redis"
