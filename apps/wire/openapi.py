"""Say in one line what a view takes and gives, for the OpenAPI document.

    @describe(request=EnrolmentRequest, response=ClientRecord, statuses=(201, 200), errors=("name_taken",
    "token_refused")) def post(self, request): ...

Schemas come from the message structs themselves, so that the document cannot say something else than the decoder does.
Error codes are turned into responses by `boltz_federated.openapi`, which knows the table of problems.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from boltz_protocol import messages

CODES_EXTENSION = "x-problem-codes"
REFERENCE = "#/components/schemas/{name}"
# what a view of the default permission answers to clients that are known and may not take part
TO_INACTIVE_CLIENTS = ("client_pending", "client_suspended")

F = TypeVar("F", bound=Callable[..., Any])


def describe(
    *,
    summary: str,
    request: Any = None,
    response: Any = None,
    statuses: Sequence[int] = (200,),
    statuses_without_content: Mapping[int, str] | None = None,
    media_type: str = "application/json",
    errors: Sequence[str] = (),
    **more: Any,
) -> Callable[[F], F]:
    """Describe one method of a view.

    Args:
        summary: a short sentence; the method's docstring becomes the description.
        request: a message struct, or {media type: bytes} for what is not JSON.
        response: a message struct, `bytes`, or None for an answer without content.
        statuses: the success statuses, all with that response.
        statuses_without_content: others that are no errors either, and what they mean.
        media_type: of the response.
        errors: codes of the table in `boltz_federated.problems`; an unknown one fails when the document is made.
        more: passed on to `extend_schema` (tags, parameters, description ...).
    """
    if isinstance(request, Mapping):
        request = {kind: _binary(content) for kind, content in request.items()}
    answer = OpenApiResponse(response=_binary(response), description=summary)
    empty = {status: OpenApiResponse(description=what) for status, what in (statuses_without_content or {}).items()}

    def decorate(method: F) -> F:
        view, verb = method.__qualname__.split(".")[-2:]
        decorator = extend_schema(
            operation_id=f"{verb}{view.removesuffix('View')}",
            summary=summary,
            request=request,
            responses={(status, media_type): answer for status in statuses} | empty,
            extensions={CODES_EXTENSION: list(errors)},
            **more,
        )
        described: F = decorator(method)
        return described

    return decorate


def query(name: str, description: str, **schema: Any) -> OpenApiParameter:
    """A part of the query that a view understands, for `describe(parameters=...)`."""
    return OpenApiParameter(name, type=schema, location=OpenApiParameter.QUERY, description=description)


def header(name: str, description: str) -> OpenApiParameter:
    """A header that a view understands, for `describe(parameters=...)`."""
    return OpenApiParameter(name, type=str, location=OpenApiParameter.HEADER, description=description)


def schemas_of(kind: type) -> dict[str, Any]:
    """The JSON Schemas of a struct and of all that it is made of, by name."""
    _, components = msgspec.json.schema_components([kind], ref_template=REFERENCE)
    return {name: _with_ecma_patterns(schema) for name, schema in components.items()}


class MessageSchema(OpenApiSerializerExtension):
    """Lets drf-spectacular take message structs where it takes serializers."""

    target_class = messages.Message
    match_subclasses = True

    def get_name(self, auto_schema: Any, direction: Any) -> str:
        """The struct's own name."""
        return str(self.target.__name__)

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """The struct's schema; the ones that it refers to are registered beside it."""
        schemas = schemas_of(self.target)
        own = schemas.pop(self.target.__name__)
        for name, schema in schemas.items():
            auto_schema.registry.register_on_missing(
                ResolvedComponent(
                    name=name,
                    type=ResolvedComponent.SCHEMA,
                    # the struct, so that it is the same component when a view names it itself
                    object=getattr(messages, name, name),
                    schema=schema,
                )
            )
        return dict(own)


def _binary(content: Any) -> Any:
    """Raw bytes as OpenAPI has them; anything else as it is."""
    return OpenApiTypes.BINARY if content is bytes else content


def _with_ecma_patterns(schema: Any) -> Any:
    """The same schema with Python's anchors in patterns written as ECMA 262 has them, which JSON Schema follows."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\A", "^").replace(r"\Z", "$") if key == "pattern" else _with_ecma_patterns(value)
            for key, value in schema.items()
        }
    return [_with_ecma_patterns(item) for item in schema] if isinstance(schema, list) else schema
