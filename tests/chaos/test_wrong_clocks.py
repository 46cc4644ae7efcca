"""A machine whose clock is ten minutes off: deadlines, leases and pauses go by the database's clock, and hold."""

from pathlib import Path

import pytest

from boltz_client.errors import ClockSkewError, ServerUnreachableError
from local_stack import programs
from local_stack.ports import LOOPBACK
from tests.chaos.extra_programs import extra
from tests.chaos.faults import kill
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.messages import messages_of
from tests.chaos.senders import enrol, one_hot_senders, send_all

pytestmark = [pytest.mark.processes, pytest.mark.long]

OFF_SECONDS = 600
ENTRY_OFF = "SELECT extract(epoch FROM max(created_at) - now()) FROM audit_logentry WHERE round = %s AND type = 'update.decided'"


def off_by(seconds):
    """What makes the clock of a program wrong."""
    return {
        "PYTHONPATH": str(Path(__file__).with_name("wrong_clock")),
        "CLOCK_OFFSET_SECONDS": str(seconds),
    }


def closes_in(mesh, model, seconds):
    """Move the deadline of a round."""
    query = "UPDATE rounds_round SET closes_at = now() + %s * interval '1 second' WHERE id = %s RETURNING 1"
    assert mesh.rows(query, seconds, mesh.value(ROUND, model))


def wait_until_staged(mesh, model, count):
    mesh.until(lambda: mesh.update_states(model) == ["staged"] * count, f"{count} are staged")


def test_a_worker_whose_clock_is_ahead_does_not_seal_a_round_before_its_deadline(mesh, model, parameters, send_task):
    senders = one_hot_senders(parameters)
    kill(mesh, "worker")
    with extra(mesh, programs.worker(), name="worker-ahead", settings=off_by(OFF_SECONDS)):
        closes_in(mesh, model, OFF_SECONDS // 2)
        send_all(mesh, model, senders[:3])
        wait_until_staged(mesh, model, 3)
        assert mesh.value(ENTRY_OFF, f"{model}/1") > OFF_SECONDS / 2, "its clock is wrong"
        # by its own clock the deadline was five minutes ago
        round_id = mesh.value(ROUND, model)
        send_task("rounds.advance_round", round_id, queue="control")
        mesh.until(lambda: not messages_of(mesh, "rounds.advance_round", round_id), "it has looked at the round")
        senders[3].send(mesh, model)
        check_invariants(mesh, model, senders)


def test_a_worker_whose_clock_is_behind_seals_a_round_at_its_deadline(mesh, model, parameters):
    senders = one_hot_senders(parameters)[:3]
    for name in ("worker", "reconciler"):
        kill(mesh, name)
    with extra(mesh, programs.worker(), name="worker-behind", settings=off_by(-OFF_SECONDS)):
        send_all(mesh, model, senders)
        wait_until_staged(mesh, model, 3)
        assert mesh.value(ENTRY_OFF, f"{model}/1") < -OFF_SECONDS / 2, "its clock is wrong"
        closes_in(mesh, model, 0)
        check_invariants(mesh, model, senders)
        assert not mesh.processes["reconciler"].is_running()


def test_a_web_server_whose_clock_is_wrong_takes_nothing_and_says_why(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    enrol(mesh, senders)
    kill(mesh, "web")
    web = programs.web(host=LOOPBACK, port=mesh.port)
    with extra(mesh, web, name="web-ahead", settings=off_by(OFF_SECONDS)):
        mesh.until(lambda: answers_with_a_wrong_clock(mesh, model, senders[0]), "it says that the clocks disagree")
    assert mesh.update_states(model) == []
    mesh.mend()
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


def answers_with_a_wrong_clock(mesh, model, sender):
    """False while there is no answer."""
    try:
        sender.send(mesh, model)
    except ServerUnreachableError:
        return False
    except ClockSkewError:
        return True
    raise AssertionError("an upload was taken")
