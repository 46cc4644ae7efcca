"""The error tree, split by blame.

`SenderError`: whoever sent the bytes is at fault; the same bytes will fail again.
`ServerFaultError`: we are at fault; nothing is held against the sender.
`NotNowError`: well-formed and honest, but the state of the mesh does not allow it now.

Every error has a `code`, a stable snake_case word that travels in problem+json and in an update's record; the message
says what was found and what would be right. Codes are given where the error is raised and named in
`boltz_federated/problems.py`.
"""


class BoltzError(Exception):
    """Root of every error that this project raises on purpose."""

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class SenderError(BoltzError):
    """The sender's fault."""

    default_code = "invalid"


class ServerFaultError(BoltzError):
    """Our fault."""

    default_code = "server_fault"


class NotNowError(BoltzError):
    """Not allowed in the present state."""

    default_code = "not_now"


class MalformedMessageError(SenderError):
    """Bytes that are not the one canonical spelling of a message of the expected type."""

    default_code = "malformed_message"


class BadSignatureError(SenderError):
    """A signature that does not verify, or a key that is not known or not trusted for the purpose."""

    default_code = "bad_signature"
