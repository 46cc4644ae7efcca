"""ASGI entry point: `uvicorn boltz_federated.asgi:application`. Slower than WSGI for uploads (docs/adr/0003)."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boltz_federated.settings")
application = get_asgi_application()
