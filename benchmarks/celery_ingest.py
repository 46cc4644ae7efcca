"""Updates on their way through Redis, Celery and Postgres: taken while the worker rests, then all at once."""

from benchmarks.prepared import prepared_updates, signed_head
from benchmarks.round import make_model
from benchmarks.started import rows, started_mesh
from benchmarks.upload import ACCEPTED, seconds_to_send
from local_stack.mesh import Mesh
from local_stack.processes import wait_until

UPDATES, WARM_UP = 48, 8
CORES = 2
PATIENCE_SECONDS = 300.0
DECIDED = "SELECT extract(epoch FROM decided_at) FROM rounds_update WHERE state = 'staged' ORDER BY decided_at"


def seconds_per_update(parameters: int) -> float:
    """Seconds of one core from the queue to STAGED, with everything that runs beside it on the same cores."""
    with started_mesh() as (mesh, folder):
        make_model(mesh, folder, parameters, target=UPDATES + 1)
        mesh.processes["worker"].kill()
        updates = prepared_updates(mesh, folder / "homes", parameters, UPDATES)
        requests = [(signed_head(update, mesh.port), update.sealed.body) for update in updates]
        seconds_to_send(requests, mesh.port, ACCEPTED)
        mesh.start_program("worker")
        if not wait_until(lambda: len(decided(mesh)) == UPDATES, seconds=PATIENCE_SECONDS):
            raise SystemExit(f"{len(decided(mesh))} of {UPDATES} updates were staged in {PATIENCE_SECONDS:.0f} s")
        moments = decided(mesh)
    return CORES * (moments[-1] - moments[WARM_UP]) / (UPDATES - WARM_UP - 1)


def decided(mesh: Mesh) -> list[float]:
    """When updates were staged, in order."""
    return [float(moment) for (moment,) in rows(mesh, DECIDED)]
