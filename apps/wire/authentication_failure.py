"""The one answer to everybody who is not known, whatever the reason."""

from boltz_protocol.errors import SenderError

SENTENCE = "the request is not signed by a key that is known here, or its signature was used before"


class AuthenticationFailedError(SenderError):
    """Who asks is not known. Takes no message, so that no answer can differ from another."""

    default_code = "authentication_failed"

    def __init__(self) -> None:
        super().__init__(SENTENCE)
