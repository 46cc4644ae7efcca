"""The Celery app: `celery -A worker.celery:app worker`."""

import os

from celery import Celery

from worker.heartbeats import Heartbeats

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boltz_federated.settings")

app = Celery("boltz")
app.config_from_object("worker.configuration")
app.autodiscover_tasks()
app.steps["consumer"].add(Heartbeats)
