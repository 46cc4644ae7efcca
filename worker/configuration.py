"""Celery's settings. Each one answers a loss that was measured on celery and kombu 5.7.0 (docs/adr/0004)."""

import os

from worker.queues import CONTROL, QUEUES, ROUTES
from worker.schedule import SCHEDULE

KEY_PREFIX = os.environ.get("BOLTZ_REDIS_PREFIX", "btmesh:")

broker_url = result_backend = os.environ.get("REDIS_URL", "")
broker_transport_options = {
    "global_keyprefix": KEY_PREFIX,
    "visibility_timeout": 900,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
result_backend_transport_options = {
    "global_keyprefix": KEY_PREFIX,
    "visibility_timeout": 900,
    # by default 20 tries a second apart, each time a chord is begun: with Redis dead the reconciler would stand still
    "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2},
}
redis_socket_timeout = 5.0
redis_socket_connect_timeout = 1.0
broker_connection_max_retries = None
broker_connection_retry_on_startup = True

task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}
task_acks_late = task_reject_on_worker_lost = task_retry_on_worker_lost = True
task_time_limit = 240
task_soft_time_limit = 200
task_ignore_result = True
task_default_queue = CONTROL
task_queues = QUEUES
task_routes = ROUTES
task_create_missing_queues = False
result_expires = result_chord_expires = 86_400
result_chord_join_timeout = 30

worker_prefetch_multiplier = 1
# True loses acks_late tasks when broker and result backend share a Redis
worker_cancel_long_running_tasks_on_connection_loss = False
worker_enable_prefetch_count_reduction = False
worker_enable_remote_control = False
worker_send_task_events = False
# on SIGQUIT (REMAP_SIGTERM=SIGQUIT) running tasks get this long before they are handed back
worker_soft_shutdown_timeout = 60
worker_enable_soft_shutdown_on_idle = True
worker_hijack_root_logger = False

accept_content = result_accept_content = ["json"]
task_serializer = result_serializer = "json"
timezone = "UTC"
enable_utc = True

beat_schedule = SCHEDULE
beat_scheduler = "worker.beat:Scheduler"
# so that a schedule changed in the admin counts soon, and a heartbeat is no older than this
beat_max_loop_interval = 5
