"""How signed requests appear in the OpenAPI document."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

DESCRIPTION = (
    "HTTP message signature (RFC 9421), label `sig`, tag `bt-fl-v1`, Ed25519, over method, path, query, authority and, "
    "with a body, content type and content digest (RFC 9530); created, expires at most 300 s later, a 16-byte nonce."
)


class SignatureScheme(OpenApiAuthenticationExtension):
    """Requests signed by a client's key."""

    target_class = "apps.clients.authentication.SignatureAuthentication"
    name = "requestSignature"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The scheme, as far as OpenAPI can say it."""
        return {"type": "http", "scheme": "signature", "description": DESCRIPTION}


class EnrolmentScheme(OpenApiAuthenticationExtension):
    """Requests signed by the key that they enrol."""

    target_class = "apps.clients.authentication.EnrolmentAuthentication"
    name = "enrolmentSignature"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The same scheme with another key."""
        return {"type": "http", "scheme": "signature", "description": f"{DESCRIPTION} By the key in the body."}
