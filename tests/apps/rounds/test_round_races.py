"""Two processes at the same instant, each with its own connection: one of them wins, and nothing is lost or doubled."""

import threading

import pytest
from django.db import connection, transaction

from apps.audit import selectors as log
from apps.clients import services as clients
from apps.clients.models import Client
from apps.rounds import services, stores
from apps.rounds.models import Participation, Round, Update
from apps.rounds.services import inbox, ingest, leases, transitions, uploads
from boltz_core.rounds.states import RoundState
from boltz_protocol.errors import NotNowError
from tests.apps.hostile_envelopes import seal, send
from tests.apps.places import submit, vector_of
from tests.apps.signed_requests import refusal
from tests.apps.together import together
from tests.apps.unchanged import files

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_messages(monkeypatch):
    """What is committed here would be announced to workers that are not there."""
    monkeypatch.setattr("apps.dispatch._publisher.put", lambda *_: True)


@pytest.fixture
def body(place):
    return seal(place, vector_of(place.layout))


class Halted:
    """A step of one thread that waits, having done its work, until it is let go."""

    def __init__(self, monkeypatch, module, name):
        self.reached, self._go = threading.Event(), threading.Event()
        real = getattr(module, name)

        def halting(*arguments, **named):
            result = real(*arguments, **named)
            self.reached.set()
            assert self._go.wait(20)
            return result

        monkeypatch.setattr(module, name, halting)

    def let_go(self):
        self._go.set()


def in_thread(function):
    """Start a function in a thread with a connection of its own; returns how to wait for its result."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(30)
        assert outcome, "still waiting"
        return outcome[0]

    return result


def waits_for_a_lock():
    """Whether some session of this database waits for another one."""
    with connection.cursor() as cursor:
        # inside a transaction the first look would be remembered
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


def until(condition, seconds=20):
    """Wait for a condition of the database."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to that")


def test_a_seal_waits_for_an_upload_that_is_being_inserted_and_counts_it(place, body, monkeypatch):
    halted = Halted(monkeypatch, uploads, "insert_update")
    upload = in_thread(lambda: send(place, body))
    assert halted.reached.wait(20)
    sealing = in_thread(lambda: services.seal_round(Round.objects.get(), actor="system"))
    until(waits_for_a_lock)
    assert Round.objects.get().state == "open"
    halted.let_go()
    assert upload().status_code == 202
    assert sealing() is None
    assert Round.objects.get().state == "sealed"
    entry = log.entries_of_type("round.sealed").get()
    assert log.read_detail(entry) == {"accepted": 1}


def test_nothing_is_inserted_after_the_seal(place, body, monkeypatch):
    halted = Halted(monkeypatch, uploads, "receive")
    upload = in_thread(lambda: send(place, body))
    assert halted.reached.wait(20)
    services.seal_round(Round.objects.get(), actor="system")
    halted.let_go()
    assert refusal(upload()) == (409, "round_sealed")
    assert not Update.objects.exists()
    assert not [name for name in files() if name.startswith("inbox")]


def test_an_upload_that_meets_a_seal_on_its_way_waits_for_it(place, body):
    with transaction.atomic():
        transitions.move_round(Round.objects.get(), RoundState.OPEN, RoundState.SEALED)
        upload = in_thread(lambda: send(place, body))
        until(waits_for_a_lock)
    assert refusal(upload()) == (409, "round_sealed")


def test_an_erasure_waits_for_an_upload_that_is_being_inserted_and_erases_it(place, body, monkeypatch):
    halted = Halted(monkeypatch, uploads, "insert_update")
    upload = in_thread(lambda: send(place, body))
    assert halted.reached.wait(20)
    erasing = in_thread(lambda: clients.erase(Client.objects.get(), actor="test"))
    until(waits_for_a_lock)
    halted.let_go()
    assert upload().status_code == 202
    assert erasing() is True
    assert Update.objects.get().state == "erased"
    assert not [name for name in files() if name.startswith("inbox")]


def test_an_erasure_waits_for_a_worker_that_commits_its_decision_and_removes_its_file(place, monkeypatch):
    update = submit(place)
    halted = Halted(monkeypatch, ingest, "log_decision")
    deciding = in_thread(lambda: services.process_update(update.pk))
    assert halted.reached.wait(20)
    erasing = in_thread(lambda: clients.erase(Client.objects.get(), actor="test"))
    until(waits_for_a_lock)
    halted.let_go()
    assert (deciding(), erasing()) == (None, True)
    # it had been staged
    assert Update.objects.values_list("state", "staged_attempt").get() == ("erased", 1)
    assert not [name for name in files() if name.startswith(("inbox", "staged"))]


def test_an_upload_that_meets_an_erasure_on_its_way_is_refused(place, body):
    with transaction.atomic():
        clients.erase(Client.objects.get(), actor="test")
        upload = in_thread(lambda: send(place, body))
        until(waits_for_a_lock)
    assert upload().status_code in {401, 403}
    assert not Update.objects.exists()


def test_the_sweep_waits_for_an_upload_between_the_name_and_the_commit(place, body, monkeypatch):
    halted = Halted(monkeypatch, stores, "publish_file")
    upload = in_thread(lambda: send(place, body))
    assert halted.reached.wait(20)
    [path] = list(stores.inbox().glob("*/*"))
    sweeping = in_thread(lambda: inbox.remove_orphans([path]))
    until(waits_for_a_lock)
    halted.let_go()
    assert upload().status_code == 202
    assert sweeping() == 0
    assert stores.envelope_is_intact(Update.objects.get().body_sha256)


def test_the_same_upload_twice_at_once_is_one_update_with_one_receipt(place, body):
    answers = together(*[lambda: send(place, body)] * 4)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert Update.objects.count() == 1
    assert log.entries_of_type("update.received").count() == 1
    assert stores.envelope_is_intact(Update.objects.get().body_sha256)


def test_of_two_different_uploads_at_once_one_is_taken_and_the_other_leaves_nothing(place):
    bodies = [seal(place, vector_of(place.layout, seed)) for seed in (1, 2)]
    answers = together(*[lambda body=body: send(place, body) for body in bodies])
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refusal(refused) == (409, "upload_conflict")
    update = Update.objects.get()
    assert [name for name in files() if name.startswith("inbox")] == [
        f"inbox/{update.body_sha256[:2]}/{update.body_sha256}"
    ]


def test_one_request_that_arrives_twice_at_once_counts_once(place, body):
    headers = place.client.signer.headers("PUT", place.path, body=body, content_type="application/vnd.boltz.envelope")
    answers = together(*[lambda: place.client.http.put(place.path, content=body, headers=headers)] * 2)
    assert sorted(answer.status_code for answer in answers) == [202, 401]
    assert Update.objects.count() == 1


def test_joining_twice_at_once_is_joining_once(alpha):
    path = "/api/v1/models/boltz-core/rounds/1/participation"
    answers = together(*[lambda: alpha.post(path, {})] * 4)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert Participation.objects.count() == 1
    assert log.entries_of_type("round.joined").count() == 1


def test_sealing_twice_at_once_is_sealing_once(place):
    submit(place)
    together(*[lambda: services.seal_round(Round.objects.get(), actor="system")] * 3)
    assert Round.objects.get().state == "sealed"
    assert log.entries_of_type("round.sealed").count() == 1


def test_of_two_operators_who_seal_at_once_one_is_told_that_the_other_was_faster(place):
    outcomes = together(*[lambda: services.seal_round(Round.objects.get(), actor="operator_x")] * 2)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "NotNowError"]


def test_freezing_at_once_is_freezing_once(place):
    update = submit(place)
    services.process_update(update.pk)
    services.seal_round(Round.objects.get(), actor="system")
    together(*[lambda: services.advance_round(Round.objects.get().pk)] * 3)
    assert Round.objects.get().state == "frozen"
    assert log.entries_of_type("round.frozen").count() == 1


def test_opening_at_once_opens_one_round(mesh):
    model = mesh.make_model(opened=False)
    outcomes = together(*[lambda: services.open_round(model)] * 3)
    assert Round.objects.get().state == "open"
    assert sum(isinstance(outcome, NotNowError) for outcome in outcomes) == 2
    assert log.entries_of_type("round.opened").count() == 1


def test_two_workers_that_get_the_same_message_decide_once(place):
    update = submit(place)
    together(*[lambda: services.process_update(update.pk)] * 3)
    assert Update.objects.values_list("state", "lost_leases", "failures", "staged_attempt").get() == ("staged", 0, 0, 1)
    assert log.entries_of_type("update.decided").count() == 1


def test_one_worker_claims_what_two_want(place):
    update = submit(place)
    claims = together(*[lambda: leases.claim(update.pk)] * 4)
    assert sum(isinstance(claim, leases.Lease) for claim in claims) == 1
