"""Taking part: join a round, send an update, ask what became of it."""

import re

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.clients.authentication import refuse
from apps.clients.services import ReplayedError
from apps.rounds import selectors, services
from apps.wire.canonical_json import read_message
from apps.wire.openapi import TO_INACTIVE_CLIENTS, describe, header
from apps.wire.request_body import announced_bytes
from boltz_protocol.errors import SenderError
from boltz_protocol.http_signature import parse_content_digest
from boltz_protocol.messages import Participation, ParticipationRequest, SignedDocument, UpdateStatus

ENVELOPE_TYPE = "application/vnd.boltz.envelope"
# RFC 7240, section 2: preferences are separated by commas, and their parameters by semicolons
WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?:[,;]|$)", re.IGNORECASE)


class EnvelopeParser(BaseParser):
    """Never parses: the view streams the body."""

    media_type = ENVELOPE_TYPE


class ParticipationView(APIView):
    """Joining a round."""

    methods_of_round_quota = frozenset({"POST"})

    @describe(
        summary="Join a round; names the upload id, the same one each time",
        request=ParticipationRequest,
        response=Participation,
        errors=(*TO_INACTIVE_CLIENTS, "unknown_model", "unknown_round", "round_not_open", "round_sealed"),
        tags=["rounds"],
    )
    def post(self, request: Request, name: str, number: str) -> Response:
        """Idempotent. The body is an empty object."""
        read_message(request, ParticipationRequest)
        joined = services.join_round(selectors.find_round(name, number), request.user.client)
        return Response(
            Participation(
                v=1, model=name, round=joined.round.number, client_id=joined.client_id, upload_id=joined.upload_id
            )
        )


class UpdateView(APIView):
    """One update of one client."""

    parser_classes = (EnvelopeParser,)
    # the authentication checks headers only; the digest of the body is checked while it streams to disk
    streams_body = frozenset({"PUT"})
    methods_of_round_quota = frozenset({"PUT"})

    @describe(
        summary="Send an update: the sealed envelope",
        request={ENVELOPE_TYPE: bytes},
        response=SignedDocument,
        statuses=(202,),
        errors=(
            *TO_INACTIVE_CLIENTS,
            "unknown_model",
            "unknown_round",
            "not_joined",
            "not_your_upload",
            "round_not_open",
            "round_sealed",
            "wrong_base_version",
            "encryption_key_retired",
            "upload_conflict",
            "already_submitted",
            "header_mismatch",
            "malformed_envelope",
            "digest_mismatch",
            "body_too_large",
            "body_incomplete",
            "length_required",
            "content_encoding_refused",
            "unsupported_media_type",
            "storage_unavailable",
        ),
        tags=["rounds"],
    )
    def put(self, request: Request, name: str, number: int, upload_id: str) -> Response:
        """Answers 202 with a signed `Receipt` when the bytes are durable; the same bytes again get the same receipt."""
        if request.content_type != ENVELOPE_TYPE:
            raise SenderError(f"an update is sent as {ENVELOPE_TYPE}", code="unsupported_media_type")
        upload = services.Upload(
            model=name,
            round=number,
            upload_id=upload_id,
            client=request.user.client,
            key=request.user.key,
            signature=request.auth,
            body_sha256=parse_content_digest(request.headers.get("Content-Digest", "")),
            length=announced_bytes(request),
        )
        try:
            # the underlying request's own stream: DRF would parse, Django would keep it in memory
            receipt = services.accept_update(upload, request._request)  # noqa: SLF001
        except ReplayedError:
            refuse(request, reason="replayed")
        return Response(receipt, status=202)

    @describe(
        summary="What became of an update",
        response=UpdateStatus,
        parameters=[header("Prefer", "`wait=SECONDS` (RFC 7240): hold the answer that long while nothing is decided")],
        errors=(*TO_INACTIVE_CLIENTS, "unknown_model", "unknown_round", "unknown_update"),
        tags=["rounds"],
    )
    def get(self, request: Request, name: str, number: int, upload_id: str) -> Response:
        """State, reason, share of the weight and the version it went into; for its own client only.

        A look that asks to wait is held for a few seconds at most, and answered at once when many wait already.
        """
        return Response(
            selectors.update_status_when_decided(
                name, str(number), upload_id, request.user.client, wait_seconds=asked_wait(request)
            )
        )


def asked_wait(request: Request) -> float:
    """For how many seconds a client would wait, within what the mesh holds; a preference that is none is ignored."""
    asked = WAIT.search(request.headers.get("Prefer", ""))
    return min(float(asked[1]), settings.BOLTZ_HOLD_SECONDS) if asked else 0.0
