"""One row by its public name, or an error that says what is not there."""

from django.db.models import QuerySet

from apps.clients.models import Client
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round, Update
from boltz_core.rounds.states import VersionState
from boltz_protocol.errors import SenderError

LARGEST_NUMBER = 2**31 - 1


def models_by_name() -> QuerySet[FederatedModel]:
    """Every model."""
    return FederatedModel.objects.order_by("name")


def find_model(name: str) -> FederatedModel:
    """The model of this name.

    Raises:
        SenderError: `unknown_model`.
    """
    model = FederatedModel.objects.filter(name=name).first()
    if model is None:
        raise SenderError(f"there is no model named {name}", code="unknown_model")
    return model


def number_of(text: str, kind: str) -> int:
    """A number from a path."""
    if not text.isascii() or not text.isdigit() or int(text[:11]) > LARGEST_NUMBER:
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
    update = updates.filter(pk=upload_id, round=round_, client=client).first()
    if update is None:
        raise SenderError("you have no update with this id in this round", code="unknown_update")
    return update
