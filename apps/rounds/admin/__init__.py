"""Models, versions, rounds and updates in the admin; and what clients and mesh keys have to do with rounds."""

from apps.rounds.admin.clients import ClientWithUpdatesAdmin
from apps.rounds.admin.mesh_keys import RotatingKeyAdmin
from apps.rounds.admin.models import FederatedModelAdmin
from apps.rounds.admin.rounds import RoundAdmin
from apps.rounds.admin.updates import UpdateAdmin
from apps.rounds.admin.versions import ModelVersionAdmin

__all__ = [
    "ClientWithUpdatesAdmin",
    "FederatedModelAdmin",
    "ModelVersionAdmin",
    "RotatingKeyAdmin",
    "RoundAdmin",
    "UpdateAdmin",
]
