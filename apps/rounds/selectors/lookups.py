"""One row by its public name, or an error that says what is not there."""

import re

import msgspec
from django.db.models import QuerySet

from apps.joined_rows import Joined
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round
from boltz_core.rounds.states import VersionState
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import Name

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
    model = FederatedModel.objects.filter(name=valid_name(name)).first()
    if model is None:
        raise unknown_model(name)
    return model


def valid_name(name: str) -> str:
    """A model's name from a path. What cannot be one does not get to the database, which refuses NUL in its own way.

    Raises:
        SenderError: `unknown_model`.
    """
    if not is_a(name, Name):
        raise unknown_model(name)
    return name


def unknown_model(name: str) -> SenderError:
    """Nothing has this name."""
    return SenderError(f"there is no model named {name:.64}", code="unknown_model")


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
    which = {"state": VersionState.CURRENT} if number == "latest" else {"number": number_of(number, "version")}
    # no ORDER BY where there is one at most, and no model where nobody asks: each client looks versions up
    version = next(iter(ModelVersion.objects.filter(model__name=valid_name(name), **which).order_by()), None)
    if version is None:
        find_model(name)
        raise SenderError(f"{name} has no version {number}", code="unknown_version")
    return version


PLACES = Joined(round=Round, model=FederatedModel, base=ModelVersion)
ROUNDS = f"""
    SELECT {PLACES.columns} FROM rounds_round AS round
    JOIN rounds_federatedmodel AS model ON model.id = round.model_id
    LEFT JOIN rounds_modelversion AS base ON base.id = round.base_id
    WHERE model.name = %s
"""  # noqa: S608 - nothing in it comes from outside
THIS_ONE = ROUNDS + "AND round.number = %s"
CURRENT = ROUNDS + "ORDER BY round.state = ANY(%s) DESC, round.number DESC LIMIT 1"


def find_round(name: str, number: str) -> Round:
    """A round by number, or `current`: the one that has not ended, else the last one. With its model and base.

    Raises:
        SenderError: `unknown_model`, `unknown_round`.
    """
    if number == "current":
        found = PLACES.first(CURRENT, [valid_name(name), list(LIVE_ROUND_STATES)])
    else:
        found = PLACES.first(THIS_ONE, [valid_name(name), number_of(number, "round")])
    if found is None:
        find_model(name)
        raise SenderError(f"{name} has no round {number}", code="unknown_round")
    round_: Round = found[0]
    _, round_.model, round_.base = found
    return round_
