"""A mesh as it may look after a day: three models, clients of four kinds, rounds behind it, refusals, things that wait."""

import hashlib
import secrets
from datetime import timedelta

from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.aggregation import services as aggregation
from apps.aggregation.models import Heartbeat
from apps.aggregation.services import beginning, endings
from apps.clients import services as clients
from apps.clients.models import Client
from apps.rounds import services as rounds
from apps.rounds.models import Round, Update
from apps.rounds.services import opening
from boltz_client import FederatedClient, open_round, participation
from boltz_core.rounds.states import RoundState
from demo import misbehaviour
from tests.apps.mesh import MODEL, MeshInProcess, data
from tests.apps.signed_requests import BASE_URL

OPERATOR = "operator_of_the_tests"
# name, kind, region, organisation, credit, debt
PARTICIPANTS = (
    ("harbor-broker-1", "broker_adapter", "us-east-1", "Harbor Securities", 9.2, 0.4),
    ("harbor-broker-2", "broker_adapter", "us-west-2", "Harbor Securities", 6.1, 1.0),
    ("lakeside-edge", "edge_node", "eu-west-1", "Lakeside Trading", 48.0, 0.3),
    ("north-partner", "partner_firm", "eu-north-1", "North & Sons", 2.5, 0.8),
    ("quay-partner", "partner_firm", "ap-southeast-1", "Quay Capital", 0.0, 0.0),
    ("anna-laptop", "user_device", "eu-central-1", None, 0.0, 0.0),
    ("bo-desktop", "user_device", "us-east-1", None, 0.5, 11.0),
)
MISBEHAVING = (("stray-device", "garbage"), ("broken-edge", "nan"), ("loud-edge", "loud"))


def fill(mesh: MeshInProcess, settings) -> None:
    """Fill an empty mesh."""
    members = [enrolled(mesh, *row) for row in PARTICIPANTS]
    mesh.make_model(MODEL, opened=True, keeps_open=True, quorum=3, target=20)
    mesh.make_model("overnight-gap", opened=False)
    for number in (1, 2):
        for seed, member in enumerate(members[: 3 + number]):
            member.participate_in_round(MODEL, data(seed, rows=40 + 30 * seed), round_number=number)
        if number == 2:
            misbehave(mesh, number)
        mesh.finish_round(number)
    round_under_way(mesh, members)
    round_that_failed(mesh, members)
    decide_about_clients(mesh, settings)
    tokens()
    processes()


def enrolled(
    mesh: MeshInProcess, name: str, kind: str, region: str, organisation: str | None, credit: float, debt: float
) -> FederatedClient:
    """A client, let in by a token of its organisation when it has one, with a reputation."""
    token = None
    if organisation:
        token, _ = clients.make_token(
            organisation=organisation, actor=OPERATOR, valid_for=timedelta(days=7), note=f"for {name}"
        )
    client = FederatedClient(name, BASE_URL, home=mesh.directory / "homes" / name, transport=mesh.transport)
    client.register(region=region, kind=kind, token=token)
    Client.objects.filter(name=name).update(credit=credit, debt=debt, rounds_seen=round(credit + debt))
    return client


def misbehave(mesh: MeshInProcess, number: int) -> None:
    """Clients that send garbage, NaN, and an update that is far too long."""
    for name, what in MISBEHAVING:
        member = enrolled(mesh, name, "edge_node", "sa-east-1", None, 0.0, 10.0)._member()
        if what in misbehaviour.BODIES:
            misbehaviour.send_misbehaving(member, MODEL, number, what)
            continue
        descriptor = open_round.descriptor_in(member, member.endpoints.round(MODEL, number), model=MODEL, number=number)
        layout = participation.pull_base(member, descriptor).layout
        place = member.endpoints.join(MODEL, number)
        body = misbehaviour._sealed(member, descriptor, place, layout, value=7.5).body
        member.endpoints.send_update(place, body, body_sha256=hashlib.sha256(body).digest())


def round_under_way(mesh: MeshInProcess, members: list[FederatedClient]) -> None:
    """Round 3 is open: four updates are staged, one is in work, one waits."""
    opening.open_rounds_due()
    for seed, member in enumerate(members[:6]):
        member.participate_in_round(MODEL, data(seed, rows=80), round_number=3)
    updates = Update.objects.filter(round=mesh.round(3)).order_by("received_at")
    for update in updates[:4]:
        rounds.process_update(update.pk)
    lease = {"lease_token": secrets.token_hex(16), "lease_expires_at": timezone.now() + timedelta(seconds=48)}
    Update.objects.filter(pk=updates[4].pk).update(state="processing", **lease)


def round_that_failed(mesh: MeshInProcess, members: list[FederatedClient]) -> None:
    """A round of another model whose runs were lost."""
    mesh.make_model("spread-forecast", quorum=1, target=2)
    for seed, member in enumerate(members[:2]):
        member.participate_in_round("spread-forecast", data(seed), round_number=1)
    for update in Update.objects.filter(round=mesh.round(1, "spread-forecast")):
        rounds.process_update(update.pk)
    round_ = mesh.round(1, "spread-forecast")
    assert beginning.begin_run(round_.pk) is not None
    endings.fail_round(Round.objects.get(pk=round_.pk), "5 runs were lost")
    assert mesh.round(1, "spread-forecast").state == RoundState.FAILED


def decide_about_clients(mesh: MeshInProcess, settings) -> None:
    """One client is suspended, one revoked, two wait."""
    clients.suspend(Client.objects.get(name="bo-desktop"), actor=OPERATOR, reason="sends far more than its share")
    clients.revoke(Client.objects.get(name="stray-device"), actor=OPERATOR, reason="key on a lost device")
    settings.BOLTZ_ENROLMENT = "approval"
    for name, kind in (("carla-phone", "user_device"), ("dock-broker", "broker_adapter")):
        enrolled(mesh, name, kind, "eu-south-1", None, 0.0, 0.0)
    settings.BOLTZ_ENROLMENT = "open"


def tokens() -> None:
    """One that can be used, one that is revoked."""
    wanted = {"organisation": "Quay Capital", "actor": OPERATOR, "valid_for": timedelta(days=30)}
    clients.make_token(**wanted, kind="broker_adapter", max_uses=5, note="for the new desk in Singapore")
    _, revoked = clients.make_token(**wanted, note="sent to the wrong address")
    clients.revoke_token(revoked, actor=OPERATOR)


def processes() -> None:
    """All are alive but the aggregate worker, which has been silent for too long; beat rang a minute ago."""
    for kind in ("ingest-worker", "control-worker", "beat", "reconciler", "tick"):
        aggregation.beat_heart(kind)
    Heartbeat.objects.create(kind="aggregate-worker", at=timezone.now() - timedelta(minutes=11))
    every = IntervalSchedule.objects.create(every=30, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(
        name="tick", task="aggregation.tick", interval=every, last_run_at=timezone.now() - timedelta(minutes=1)
    )
