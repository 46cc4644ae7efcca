"""`GET /keys`."""

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.keys import selectors
from apps.wire.openapi import describe
from boltz_protocol.messages import KeySet


class KeysView(APIView):
    """The mesh's public keys; for everybody, since a client pins them before it has enrolled."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @describe(summary="The mesh's public keys and their successions", response=KeySet, tags=["keys"])
    def get(self, request: Request) -> Response:
        """Every signing key with its state and validity, and the encryption keys that still open something."""
        return Response(selectors.key_set())
