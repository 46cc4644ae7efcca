"""An enrolled client at work: its key, its record, and everything it needs to take part. Made once per session."""

from dataclasses import dataclass

from boltz_client.clock import Clock
from boltz_client.endpoints import Endpoints
from boltz_client.identity import Identity
from boltz_client.journal import Journal
from boltz_client.local_policy import LocalPolicy
from boltz_client.pinning import MeshKeys
from boltz_client.versions import VersionCache
from boltz_protocol.messages import ClientRecord


@dataclass(frozen=True)
class Member:
    """Who takes part, and with what."""

    identity: Identity
    record: ClientRecord
    endpoints: Endpoints
    keys: MeshKeys
    versions: VersionCache
    journal: Journal
    local_policy: LocalPolicy
    clock: Clock
