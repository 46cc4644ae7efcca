"""`/clients`: enrol, own record, rotate the key, leave."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.clients import selectors, services
from apps.clients.authentication import EnrolmentAuthentication, SignatureAuthentication, authority_of
from apps.clients.permissions import IsActiveClient, IsClient, MayLeave
from apps.clients.services.key_rotation import KeyRotation
from apps.wire.canonical_json import read_message, read_nothing
from apps.wire.openapi import describe
from boltz_protocol.messages import ClientRecord, EnrolmentRequest, KeyRotationRequest


class ClientsView(APIView):
    """Enrolment."""

    authentication_classes = (EnrolmentAuthentication,)
    permission_classes = ()  # whoever gets past the authentication may ask

    @describe(
        summary="Enrol",
        request=EnrolmentRequest,
        response=ClientRecord,
        statuses=(201, 200),
        errors=("token_refused", "name_taken", "key_in_use", "enrolment_full", "clock_skew"),
        tags=["clients"],
    )
    def post(self, request: Request) -> Response:
        """Signed by the key in its body. 201 when the client is new, 200 when this key has enrolled before."""
        read_message(request, EnrolmentRequest)  # refuses another content type than JSON
        record, created = services.enrol(request.auth)
        return Response(record, status=201 if created else 200)


class MeView(APIView):
    """A client's own record."""

    authentication_classes = (SignatureAuthentication,)

    def get_permissions(self) -> list[BasePermission]:
        """A client reads its record in whatever state it is, and leaves; but a revoked key is nobody's here either.

        Whoever is revoked asks an operator to be erased.
        """
        return [MayLeave() if self.request.method == "DELETE" else IsClient()]

    @describe(summary="Own record", response=ClientRecord, errors=("clock_skew",), tags=["clients"])
    def get(self, request: Request) -> Response:
        """State, organisation and trust of the client that signs."""
        return Response(selectors.client_record(request.user.client, kid=request.user.key.kid))

    @describe(
        summary="Leave and be erased", statuses=(204,), errors=("clock_skew", "malformed_message"), tags=["clients"]
    )
    def delete(self, request: Request) -> Response:
        """Identity, updates that are not aggregated and details in the log are destroyed; may be repeated.

        Nothing is used in rounds frozen after the request. Published versions keep what was aggregated into them.
        """
        read_nothing(request)
        services.erase(request.user.client, actor=request.user.client.pseudonym)
        return Response(status=204)


class MyKeysView(APIView):
    """A client's keys."""

    authentication_classes = (SignatureAuthentication,)
    permission_classes = (IsActiveClient,)

    @describe(
        summary="Rotate the key",
        request=KeyRotationRequest,
        response=ClientRecord,
        errors=(
            "rotation_refused",
            "bad_signature",
            "key_in_use",
            "key_retired",
            "client_suspended",
            "client_pending",
            "clock_skew",
        ),
        tags=["clients"],
    )
    def post(self, request: Request) -> Response:
        """The statement signed by both keys; the request itself by the old one, which is retired at once."""
        rotation = KeyRotation(
            client=request.user.client,
            old_key=request.user.key,
            authority=authority_of(request._request),  # noqa: SLF001 - DRF's documented way to Django's request
            request=read_message(request, KeyRotationRequest),
        )
        return Response(services.rotate_key(rotation))
