"""The edge of the mesh: register, pull a model, train on data that stays here, send a sealed update, keep the receipt.

Stands on boltz_protocol alone; needs neither Django nor Celery.
"""

from boltz_client.client_runtime import FederatedClient
from boltz_client.errors import FederatedClientError
from boltz_client.local_policy import LocalPolicy
from boltz_client.round_result import RoundResult
from boltz_client.trainers import Trainer
from boltz_client.versions import PulledModel

__all__ = ["FederatedClient", "FederatedClientError", "LocalPolicy", "PulledModel", "RoundResult", "Trainer"]
