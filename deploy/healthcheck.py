"""Whether the process of a container does its work: `python deploy/healthcheck.py ROLE`. Exit code 0 means yes.

Without Django, so that asking every half minute costs nothing. The API says itself whether it takes uploads; the others
write heartbeats (`worker/heartbeats.py`). One is a kind's, not a container's: of two containers of a role either may be
dead unseen here.
"""

import http.client
import os
import sys
from contextlib import closing

import psycopg2

TIMEOUT_SECONDS = 5
# beat and workers write every few seconds; the reconciler may be busy with work that Redis did not take
HEARTBEAT_SECONDS = 60
HEARTBEATS = {
    "ingest-worker": ["ingest-worker", "control-worker"],
    "aggregate-worker": ["aggregate-worker"],
    "beat": ["beat"],
    "reconciler": ["reconciler"],
}
FRESH = "SELECT count(*) FROM aggregation_heartbeat WHERE kind = ANY(%s) AND at > now() - make_interval(secs => %s)"


def has_heartbeat(kinds: list[str]) -> bool:
    """Whether each of these kinds of process was alive just now."""
    with (
        closing(psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=TIMEOUT_SECONDS)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(FRESH, [kinds, HEARTBEAT_SECONDS])
        return cursor.fetchone() == (len(kinds),)


def web_is_ready() -> bool:
    """Whether the API says that it takes uploads."""
    host = os.environ["ALLOWED_HOSTS"].split(",")[0].lstrip(".")
    port = int(os.environ.get("GRANIAN_PORT", "8000"))
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", "/readyz", headers={"Host": host})
        return connection.getresponse().status == http.client.OK


def main(arguments: list[str]) -> int:
    """Check one role. Returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in {"web", *HEARTBEATS}:
        print(f"usage: healthcheck.py web|{'|'.join(HEARTBEATS)}", file=sys.stderr)
        return 2
    role = arguments[0]
    try:
        healthy = web_is_ready() if role == "web" else has_heartbeat(HEARTBEATS[role])
    except (OSError, http.client.HTTPException, psycopg2.Error) as error:
        print(f"{role}: {error}", file=sys.stderr)
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
