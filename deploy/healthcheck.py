"""Whether the process of a container does its work: `python deploy/healthcheck.py ROLE`. Exit code 0 means yes.

Without Django, so that asking every half minute costs nothing. What counts is what was done, not that a process is
there: the tick was rung, the reconciler looked, the API takes uploads.
"""

import http.client
import os
import sys
from contextlib import closing

import psycopg2
import redis

TIMEOUT_SECONDS = 5
# the tick rings every 30 s; a worker may be busy when it does
WORKER_SECONDS = 300
RECONCILER_SECONDS = 60
BEAT_SECONDS = 120

AGE_OF_HEARTBEAT = "SELECT extract(epoch FROM now() - at) FROM aggregation_heartbeat WHERE kind = %s"
AGE_OF_RING = "SELECT extract(epoch FROM now() - max(last_run_at)) FROM django_celery_beat_periodictask WHERE enabled"


def is_younger(seconds: float, query: str, *parameters: str) -> bool:
    """Whether the age that the query finds is below the limit."""
    with (
        closing(psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=TIMEOUT_SECONDS)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query, parameters)
        row = cursor.fetchone()
    return row is not None and row[0] is not None and float(row[0]) < seconds


def web_is_ready() -> bool:
    """Whether the API says that it takes uploads."""
    host = os.environ["ALLOWED_HOSTS"].split(",")[0].lstrip(".")
    port = int(os.environ.get("GRANIAN_PORT", "8000"))
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", "/readyz", headers={"Host": host})
        return connection.getresponse().status == http.client.OK


def broker_answers() -> bool:
    """Whether this container reaches Redis."""
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=TIMEOUT_SECONDS) as connection:
        return bool(connection.ping())


CHECKS = {
    "web": web_is_ready,
    "broker": broker_answers,
    "worker": lambda: is_younger(WORKER_SECONDS, AGE_OF_HEARTBEAT, "worker"),
    "reconciler": lambda: is_younger(RECONCILER_SECONDS, AGE_OF_HEARTBEAT, "reconciler"),
    "beat": lambda: is_younger(BEAT_SECONDS, AGE_OF_RING),
}


def main(arguments: list[str]) -> int:
    """Check one role. Returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        print(f"usage: healthcheck.py {'|'.join(CHECKS)}", file=sys.stderr)
        return 2
    try:
        healthy = CHECKS[arguments[0]]()
    except (OSError, http.client.HTTPException, psycopg2.Error, redis.RedisError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
