"""Fixtures of everything that runs on Django."""

from tests.apps.limited import _full_buckets
from tests.apps.mesh import few_rsa_keys, mesh
from tests.apps.signed_requests import _own_key_directory, mesh_http, wsgi_application

__all__ = ["_full_buckets", "_own_key_directory", "few_rsa_keys", "mesh", "mesh_http", "wsgi_application"]
