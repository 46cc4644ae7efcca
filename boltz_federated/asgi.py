"""ASGI entry point: `uvicorn boltz_federated.asgi:application`. Slower than WSGI for uploads (docs/adr/0003)."""

import os

from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boltz_federated.settings")
application = get_asgi_application()
# by its name: it needs Django, which is there from here on
import_string("boltz_federated.request_limits.watch_redis")()
