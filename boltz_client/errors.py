"""What can go wrong at the edge, split by what the reader has to do about it.

Every error is a `FederatedClientError`; its message says what was found and what to do next, its `code` is stable. The
five branches below it are also the exit codes of `boltz-client`.
"""

from datetime import datetime

from boltz_protocol.errors import BoltzError
from boltz_protocol.messages import Problem


class FederatedClientError(BoltzError):
    """Root of every error this package raises on purpose."""

    default_code = "client_error"


# --- yours to change: data, settings, trainer, keys on this machine ---------------------------------------------------


class LocalError(FederatedClientError):
    """Something on this machine has to change; asking again with the same input fails again."""

    default_code = "local_error"


class DataError(LocalError):
    """X and y are not what the model's task asks for."""

    default_code = "bad_data"


class TrainerError(LocalError):
    """No trainer for the task, or a trainer that returned something other than the model's weights."""

    default_code = "bad_trainer"


class IdentityError(LocalError):
    """The key file cannot be used as it is."""

    default_code = "bad_identity"


class WrongPassphraseError(IdentityError):
    """The key file is encrypted and the passphrase given does not open it."""

    default_code = "wrong_passphrase"


class NotRegisteredError(LocalError):
    """This home holds no registration."""

    default_code = "not_registered"


class RegistrationError(LocalError):
    """This home is registered as something else, or the mesh does not take the name."""

    default_code = "registration_refused"


class OutsideLocalPolicyError(LocalError):
    """The round asks for what this participant's own rules forbid."""

    default_code = "outside_local_policy"


class ClockSkewError(LocalError):
    """This machine's clock is too far from the mesh's. `offset_seconds` > 0: this clock is ahead."""

    default_code = "clock_skew"

    def __init__(self, message: str, *, offset_seconds: float) -> None:
        super().__init__(message)
        self.offset_seconds = offset_seconds


# --- the mesh said no -------------------------------------------------------------------------------------------------


class RefusedError(FederatedClientError):
    """The mesh understood the request and refused it. `problem` is its answer."""

    default_code = "refused"

    def __init__(self, message: str, *, problem: Problem) -> None:
        super().__init__(message, code=problem.code)
        self.problem = problem


class NotAcceptedError(RefusedError):
    """The mesh does not accept this client's signature: not enrolled there, revoked, or another key."""


class UnknownModelError(RefusedError):
    """There is no such model (or round of it) at this mesh."""


class AlreadySubmittedError(RefusedError):
    """The mesh holds an update of this client for the round that was not sent from this home."""


# --- later ------------------------------------------------------------------------------------------------------------


class LaterError(FederatedClientError):
    """Nothing is wrong here; the same call can succeed later."""

    default_code = "not_now"


class PendingApprovalError(LaterError):
    """An operator has to approve this client first."""

    default_code = "client_pending"


class SuspendedError(LaterError):
    """An operator has suspended this client."""

    default_code = "client_suspended"


class RoundNotOpenError(LaterError):
    """The round takes no updates now. `opens_at` says when one does, where that is known."""

    default_code = "round_not_open"

    def __init__(self, message: str, *, opens_at: datetime | None = None) -> None:
        super().__init__(message)
        self.opens_at = opens_at


class MeshBusyError(LaterError):
    """The mesh answered 429 or 503 until the retries ran out."""

    default_code = "mesh_busy"


class MeshFaultError(LaterError):
    """The mesh failed on its own side."""

    default_code = "server_fault"


# --- the network, and the mesh itself ---------------------------------------------------------------------------------


class ServerUnreachableError(FederatedClientError):
    """No answer came back. Whether the request was carried out is unknown; the SDK finds out before it sends again."""

    default_code = "unreachable"


class UntrustedMeshError(FederatedClientError):
    """A signature, key, digest or promise of the mesh does not hold. Nothing that came with it was used."""

    default_code = "untrusted_mesh"


class MeshAnswerError(UntrustedMeshError):
    """An answer that is not of the protocol: not canonical, too long, of an unexpected status."""

    default_code = "bad_answer"
