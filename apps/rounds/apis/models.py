"""`GET /models...`: models, versions and rounds."""

import re

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.rounds import selectors
from apps.wire.openapi import TO_INACTIVE_CLIENTS, describe, header, query
from boltz_protocol import codec
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import ModelList, ModelView, RoundList, RoundView, SignedDocument

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 200
LIMIT = re.compile(r"[1-9][0-9]{0,5}")


class ModelsView(APIView):
    """Every model."""

    @describe(summary="All models", response=ModelList, errors=TO_INACTIVE_CLIENTS, tags=["models"])
    def get(self, request: Request) -> Response:
        """Each with its task, policy, current version and current round."""
        views = selectors.model_views(list(selectors.models_by_name()))
        return Response(ModelList(v=1, models=tuple(views)))


class OneModelView(APIView):
    """One model."""

    @describe(summary="One model", response=ModelView, errors=(*TO_INACTIVE_CLIENTS, "unknown_model"), tags=["models"])
    def get(self, request: Request, name: str) -> Response:
        """Its task, policy, current version and current round."""
        return Response(selectors.model_view(selectors.find_model(name)))


class VersionView(APIView):
    """The manifest of a version."""

    @describe(
        summary="The signed manifest of a version (`latest`: the current one)",
        response=SignedDocument,
        statuses_without_content={304: "The one that `If-None-Match` names"},
        parameters=[header("If-None-Match", "An ETag: 304 when the manifest is this one")],
        errors=(*TO_INACTIVE_CLIENTS, "unknown_model", "unknown_version"),
        tags=["models"],
    )
    def get(self, request: Request, name: str, number: str) -> Response:
        """A signed `VersionManifest`; 304 when it is the one that `If-None-Match` names."""
        manifest = selectors.find_version(name, number).signed_manifest()
        headers = {"ETag": codec.etag(manifest), "Cache-Control": "private, no-cache"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status=304, headers=headers)
        return Response(manifest, headers=headers)


class RoundsView(APIView):
    """The rounds of a model."""

    @describe(
        summary="The rounds of a model, newest first",
        response=RoundList,
        parameters=[
            query("limit", "How many", type="integer", minimum=1, maximum=LARGEST_LIMIT, default=DEFAULT_LIMIT)
        ],
        errors=(*TO_INACTIVE_CLIENTS, "unknown_model"),
        tags=["rounds"],
    )
    def get(self, request: Request, name: str) -> Response:
        """State, counts and result of each."""
        rounds = selectors.round_views(name, limit=asked_limit(request))
        return Response(RoundList(v=1, rounds=tuple(rounds)))


class RoundDetailView(APIView):
    """One round."""

    @describe(
        summary="A round with its signed descriptor (`current`: the one that has not ended)",
        response=RoundView,
        errors=(*TO_INACTIVE_CLIENTS, "unknown_model", "unknown_round"),
        tags=["rounds"],
    )
    def get(self, request: Request, name: str, number: str) -> Response:
        """State, counts, and what a client agrees to when it takes part."""
        return Response(selectors.round_view(name, number))


def asked_limit(request: Request) -> int:
    """The `limit` of a listing.

    Raises:
        SenderError: `bad_request`: not a number from 1 to `LARGEST_LIMIT`.
    """
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (LIMIT.fullmatch(text) and int(text) <= LARGEST_LIMIT):
        raise SenderError(f"limit is a number from 1 to {LARGEST_LIMIT}", code="bad_request")
    return int(text)
