"""The programs of the mesh and their command lines. A deployment runs the same ones (docker-compose.yml)."""

import signal
import sys

from local_stack.processes import Program

WORKER_PROCESSES = 2


def web(*, host: str, port: int) -> Program:
    """The API and the admin."""
    return Program("web", manage("serve", "--host", host, "--port", str(port)), stop_seconds=12.0)


def worker() -> Program:
    """The Celery worker for all queues.

    Without Celery's own heartbeat: nobody reads its events, and with Redis away the loop would hang in sending one.
    """
    return Program(
        "worker",
        (
            *(sys.executable, "-m", "celery", "-A", "worker.celery:app", "worker", "-Q", "ingest,aggregate,control"),
            *("-c", str(WORKER_PROCESSES), "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        # SIGTERM is mapped to SIGQUIT, which holds even an idle worker for a minute; on one SIGINT it ends its tasks
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGKILL,
    )


def beat() -> Program:
    """What rings the tick."""
    return Program("beat", (sys.executable, "-m", "celery", "-A", "worker.celery:app", "beat"))


def reconciler() -> Program:
    """What moves the mesh when Redis and beat are dead."""
    return Program("reconciler", (sys.executable, "manage.py", "reconcile", "--loop"))


def manage(*arguments: str) -> tuple[str, ...]:
    """The command line of manage.py."""
    return (sys.executable, "manage.py", *arguments)
