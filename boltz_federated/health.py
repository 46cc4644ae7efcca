"""`/healthz`, `/readyz`, `/metrics`: is the process alive, can it serve, what is the state of the mesh."""

import redis
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from apps.aggregation.selectors import mesh_metrics
from apps.keys import services as keys

REDIS_TIMEOUT_SECONDS = 0.5


def live(_request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(_request: HttpRequest) -> JsonResponse:
    """Whether uploads can be taken. Redis is reported and does not count: an upload is durable without it."""
    database, redis_state = database_state(), broker_state()
    return JsonResponse({"database": database, "redis": redis_state}, status=200 if database == "ok" else 503)


def database_state() -> str:
    """Whether the database answers and the mesh has its keys."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        missing = [
            key.kid for key in (keys.signing_key(), keys.encryption_key()) if not keys.key_store().exists(key.kid)
        ]
    except Error as error:
        return f"unreachable ({type(error).__name__})"
    except keys.KeyMissingError:
        return "no keys: run manage.py first_start"
    return f"key {missing[0]} is not in the key directory" if missing else "ok"


def broker_state() -> str:
    """Whether Redis answers."""
    try:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )
        with client:
            client.ping()
    except redis.RedisError as error:
        return f"unreachable ({type(error).__name__}); messages wait for the reconciler"
    return "ok"


def metrics(_request: HttpRequest) -> HttpResponse:
    """Prometheus metrics, read from Postgres: the same from every process."""
    return HttpResponse(generate_latest(mesh_metrics()), content_type=CONTENT_TYPE_LATEST)
