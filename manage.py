#!/usr/bin/env python3
"""Django's command line for the mesh."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boltz_federated.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"The settings are not complete: {error}")
    except OperationalError as error:
        sys.exit(f"The database cannot be used; is it running, and is DATABASE_URL right?\n{error}")
