"""One row by its public name, or an error that says what is not there."""

import re

import msgspec
from django.db.models import QuerySet

from apps.clients.models import Client
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round, Update
from boltz_core.rounds.states import VersionState
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import Identifier, Name

LARGEST_NUMBER = 2**31 - 1
# one spelling for each number, and no more digits than can be meant
NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


def models_by_name() -> QuerySet[FederatedModel]:
    """Every model."""
    return FederatedModel.objects.order_by("name")


def find_model(name: str) -> FederatedModel:
    """The model of this name.

    Raises:
        SenderError: `unknown_model`.
    """
    # what cannot be a name does not get to the database, which refuses NUL in its own way
    model = FederatedModel.objects.filter(name=name).first() if is_a(name, Name) else None
    if model is None:
        raise SenderError(f"there is no model named {name:.64}", code="unknown_model")
    return model


def is_a(text: str, kind: object) -> bool:
    """Whether a part of a path can be such a name or id."""
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


def number_of(text: str, kind: str) -> int:
    """A number from a path.

    Raises:
        SenderError: `unknown_version` or `unknown_round`: not the one spelling of a number that there can be.
    """
    if not NUMBER.fullmatch(text) or int(text) > LARGEST_NUMBER:
        raise SenderError(f"{text!r:.40} is not the number of a {kind}", code=f"unknown_{kind}")
    return int(text)


def find_version(name: str, number: str) -> ModelVersion:
    """A version by number, or `latest`.

    Raises:
        SenderError: `unknown_model`, `unknown_version`.
    """
    versions = ModelVersion.objects.filter(model=find_model(name)).select_related("model")
    if number == "latest":
        return versions.get(state=VersionState.CURRENT)
    version = versions.filter(number=number_of(number, "version")).first()
    if version is None:
        raise SenderError(f"{name} has no version {number}", code="unknown_version")
    return version


def find_round(name: str, number: str) -> Round:
    """A round by number, or `current`: the one that has not ended, else the last one.

    Raises:
        SenderError: `unknown_model`, `unknown_round`.
    """
    rounds = rounds_newest_first(find_model(name))
    if number == "current":
        round_ = rounds.filter(state__in=LIVE_ROUND_STATES).first() or rounds.first()
    else:
        round_ = rounds.filter(number=number_of(number, "round")).first()
    if round_ is None:
        raise SenderError(f"{name} has no round {number}", code="unknown_round")
    return round_


def rounds_newest_first(model: FederatedModel) -> QuerySet[Round]:
    """A model's rounds."""
    return Round.objects.filter(model=model).select_related("model", "base").order_by("-number")


def find_update(round_: Round, upload_id: str, client: Client) -> Update:
    """A client's own update.

    Raises:
        SenderError: `unknown_update`; also for another client's, so that ids cannot be probed.
    """
    updates = Update.objects.select_related("round__model", "version")
    found = updates.filter(pk=upload_id, round=round_, client=client)
    update = found.first() if is_a(upload_id, Identifier) else None
    if update is None:
        raise SenderError("you have no update with this id in this round", code="unknown_update")
    return update
