"""One round of 8, 100 and 1000 clients at d = 1e5: what an update costs must not grow with their number.

Every client is a thread with a connection of its own, over real HTTP with real signatures; all send at once. Time runs
from the first byte to the new version, CPU time is that of everything the mesh has started. An answer that is not 202,
or an update that is not in the version, ends the benchmark.
"""

from benchmarks.prepared import prepared_updates, signed_head
from benchmarks.processes import cpu_seconds, totals
from benchmarks.round import MODEL, make_model
from benchmarks.started import rows, started_mesh
from benchmarks.upload import ACCEPTED, seconds_to_send
from local_stack.mesh import Mesh
from local_stack.processes import wait_until

PARAMETERS = 100_000
NUMBERS = (8, 100, 1000)
PATIENCE_SECONDS = 600.0
ENDED = """
    SELECT extract(epoch FROM max(r.ended_at) - min(u.received_at)), count(*)
    FROM rounds_update u JOIN rounds_round r ON r.id = u.round_id JOIN rounds_federatedmodel m ON m.id = r.model_id
    WHERE m.name = %s AND r.state = 'published' AND u.state = 'aggregated'
"""


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row for each number of clients; the best of `repeat` rounds, each with clients and a mesh of its own."""
    return [
        min((measure_number(number) for _ in range(repeat)), key=lambda row: row["ms an update"]) for number in NUMBERS
    ]


def measure_number(number: int) -> dict[str, str | float]:
    """Seconds of the round, and milliseconds and CPU milliseconds an update."""
    with started_mesh() as (mesh, folder):
        make_model(mesh, folder, PARAMETERS, target=number)
        updates = prepared_updates(mesh, folder / "homes", PARAMETERS, number)
        requests = [(signed_head(update, mesh.port), update.sealed.body) for update in updates]
        before = cpu_of_mesh(mesh)
        sent = seconds_to_send(requests, mesh.port, ACCEPTED, senders=number)
        if not wait_until(lambda: published(mesh)[1] == number, seconds=PATIENCE_SECONDS):
            raise SystemExit(f"{published(mesh)[1]} of {number} updates are in a version")
        seconds, cpu = published(mesh)[0], cpu_of_mesh(mesh) - before
    return {
        "clients": f"{number}",
        "s to the last receipt": sent,
        "s to the version": seconds,
        "ms an update": 1000 * seconds / number,
        "CPU ms an update": 1000 * cpu / number,
    }


def published(mesh: Mesh) -> tuple[float, int]:
    """Seconds from the first receipt to the version, and how many updates are in it."""
    ((seconds, count),) = rows(mesh, ENDED, MODEL)
    return float(seconds or 0), int(count)


def cpu_of_mesh(mesh: Mesh) -> float:
    """CPU time so far of all that the mesh has started."""
    return totals({"mesh": lambda: [process.pid for process in mesh.all_processes().values()]}, cpu_seconds)["mesh"]
