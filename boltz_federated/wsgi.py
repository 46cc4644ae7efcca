"""WSGI entry point: `granian --interface wsgi boltz_federated.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boltz_federated.settings")
application = get_wsgi_application()
