"""The programs of the mesh and their command lines. A deployment runs the same ones (docker-compose.yml)."""

import signal
import sys

from local_stack.processes import Program

WEB_PROCESSES = 2
# a blocked upload holds a thread; each thread may hold a database connection
WEB_THREADS = 16
WORKER_PROCESSES = 2


def web(*, host: str, port: int) -> Program:
    """The API and the admin. Granian in WSGI mode hands a request body on while it arrives (performance.md)."""
    return Program(
        "web",
        (
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port)),
            *("--workers", str(WEB_PROCESSES), "--blocking-threads", str(WEB_THREADS)),
            *("--http", "1", "--no-ws"),
            *("--respawn-failed-workers", "--respawn-interval", "1", "--workers-kill-timeout", "8"),
            "boltz_federated.wsgi:application",
        ),
        stop_seconds=12.0,
    )


def worker() -> Program:
    """The Celery worker for all queues."""
    return Program(
        "worker",
        (
            *(sys.executable, "-m", "celery", "-A", "worker.celery:app", "worker", "-Q", "ingest,aggregate,control"),
            *("-c", str(WORKER_PROCESSES), "--without-gossip", "--without-mingle"),
        ),
        # SIGTERM is mapped to SIGQUIT, which holds even an idle worker for a minute; on one SIGINT it ends its tasks
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGKILL,
    )


def beat() -> Program:
    """What rings the tick."""
    return Program(
        "beat",
        (
            *(sys.executable, "-m", "celery", "-A", "worker.celery:app", "beat"),
            *("--scheduler", "django_celery_beat.schedulers:DatabaseScheduler"),
        ),
    )


def reconciler() -> Program:
    """What moves the mesh when Redis and beat are dead."""
    return Program("reconciler", (sys.executable, "manage.py", "reconcile", "--loop"))


def manage(*arguments: str) -> tuple[str, ...]:
    """The command line of manage.py."""
    return (sys.executable, "manage.py", *arguments)
