"""One row by its public name, or an error that says what is not there."""

import re
from datetime import datetime
from typing import Any, cast

import msgspec
from django.db.models import QuerySet

from apps.clients.models import Client
from apps.joined_rows import Joined
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round, Update
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


VERSIONS = Joined(version=ModelVersion, model=FederatedModel)
OF_MODEL = f"""
    SELECT {VERSIONS.columns} FROM rounds_modelversion AS version
    JOIN rounds_federatedmodel AS model ON model.id = version.model_id WHERE model.name = %s
"""  # noqa: S608 - nothing in it comes from outside
LATEST = OF_MODEL + "AND version.state = 'current'"
THIS_VERSION = OF_MODEL + "AND version.number = %s"


def find_version(name: str, number: str) -> ModelVersion:
    """A version by number, or `latest`.

    Raises:
        SenderError: `unknown_model`, `unknown_version`.
    """
    if number == "latest":
        found = VERSIONS.first(LATEST, [valid_name(name)])
    else:
        found = VERSIONS.first(THIS_VERSION, [valid_name(name), number_of(number, "version")])
    if found is None:
        find_model(name)
        raise SenderError(f"{name} has no version {number}", code="unknown_version")
    version: ModelVersion
    version, version.model = found
    return version


PLACES = Joined(round=Round, model=FederatedModel, base=ModelVersion)
ROUNDS = f"""
    SELECT {PLACES.columns}, statement_timestamp() FROM rounds_round AS round
    JOIN rounds_federatedmodel AS model ON model.id = round.model_id
    LEFT JOIN rounds_modelversion AS base ON base.id = round.base_id
"""  # noqa: S608 - nothing in it comes from outside
BY_ID = ROUNDS + "WHERE round.id = %s"
THIS_ONE = "WHERE model.name = %s AND round.number = %s"
CURRENT = "WHERE model.name = %s ORDER BY round.state = ANY(%s) DESC, round.number DESC LIMIT 1"


def place_of(name: str, number: str) -> tuple[str, list[object]]:
    """How a statement over `round` and `model` ends that asks for one round, and the values in it.

    Raises:
        SenderError: `unknown_model`, `unknown_round`: it cannot be the name of one.
    """
    if number == "current":
        return CURRENT, [valid_name(name), list(LIVE_ROUND_STATES)]
    return THIS_ONE, [valid_name(name), number_of(number, "round")]


def unknown_round(name: str, number: str) -> SenderError:
    """A model has no such round.

    Raises:
        SenderError: `unknown_model`: there is not even the model.
    """
    find_model(name)
    return SenderError(f"{name} has no round {number}", code="unknown_round")


def find_round(name: str, number: str) -> Round:
    """A round by number, or `current`: the one that has not ended, else the last one. With its model and base.

    Raises:
        SenderError: `unknown_model`, `unknown_round`.
    """
    place, values = place_of(name, number)
    found = PLACES.first(ROUNDS + place, values)
    if found is None:
        raise unknown_round(name, number)
    return _tied(found)[0]


def round_and_time(round_id: int) -> tuple[Round, datetime]:
    """A round with its model and base, and what time it is by the database's clock.

    Raises:
        Round.DoesNotExist: there is none.
    """
    found = PLACES.first(BY_ID, [round_id])
    if found is None:
        raise Round.DoesNotExist(f"there is no round {round_id}")
    return _tied(found)


def _tied(found: tuple[Any, ...]) -> tuple[Round, datetime]:
    """The round of a row, which knows its model and base, and the time of the look."""
    round_, model, base, now = found
    round_.model, round_.base = model, base
    return round_, now


UPDATES = Joined(own=Update, client=Client, round=Round, model=FederatedModel, base=ModelVersion)
UPDATE = f"""
    SELECT {UPDATES.columns} FROM rounds_update AS own
    JOIN clients_client AS client ON client.id = own.client_id
    JOIN rounds_round AS round ON round.id = own.round_id
    JOIN rounds_federatedmodel AS model ON model.id = round.model_id
    LEFT JOIN rounds_modelversion AS base ON base.id = round.base_id
    WHERE own.id = %s
"""  # noqa: S608 - nothing in it comes from outside


def find_update(update_id: str) -> Update:
    """An update with its client, round, model and base.

    Raises:
        Update.DoesNotExist: there is none.
    """
    found = UPDATES.first(UPDATE, [update_id])
    if found is None:
        raise Update.DoesNotExist(f"there is no update {update_id}")
    update, client, round_, model, base = found
    update.client, update.round = client, round_
    round_.model, round_.base = model, base
    return cast("Update", update)
