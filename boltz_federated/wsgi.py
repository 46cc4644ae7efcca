"""WSGI entry point: `granian --interface wsgi boltz_federated.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boltz_federated.settings")
application = get_wsgi_application()
# by its name: it needs Django, which is there from here on
import_string("boltz_federated.request_limits.watch_redis")()
