import sys

import numpy as np
import pytest

from demo import crowd, misbehaviour
from demo.crowd import ClientDiedError, Crowd, Member
from local_stack.processes import Program, wait_until


@pytest.fixture
def members(twelve):
    return crowd.make_members(twelve)


@pytest.fixture
def standing_in(tmp_path, monkeypatch):
    """A crowd whose processes run a script instead of a client."""

    def make(script, members):
        monkeypatch.setattr(
            crowd, "Program", lambda name, _command, **rest: Program(name, (sys.executable, "-c", script), **rest)
        )
        return Crowd(members, folder=tmp_path, url="http://127.0.0.1:1", rounds=3)

    return make


def test_two_misfits_join_the_honest(members):
    assert len(members) == 14
    assert [member.name for member in members if member.share is None] == ["misfit-garbage", "misfit-nan"]
    assert {member.kind for member in members} == {"broker_adapter", "edge_node", "partner_firm", "user_device"}
    assert {member.region for member in members} == set(crowd.REGIONS)


def test_a_client_gets_its_own_share_and_no_other(standing_in, members, tmp_path):
    with standing_in("pass", members[:2]) as everyone:
        everyone.start()
        wait_until(everyone.have_all_ended, seconds=30)
    for member in members[:2]:
        with np.load(tmp_path / f"{member.name}.npz") as share:
            assert np.array_equal(share["X"], member.share.train.X)
            assert np.array_equal(share["y"], member.share.train.y)


def test_a_client_that_ends_with_an_error_is_named_with_its_last_lines(standing_in, members):
    with standing_in("print('what went wrong'); raise SystemExit(3)", members[:1]) as everyone:
        everyone.start()
        wait_until(everyone.have_all_ended, seconds=30)
        with pytest.raises(ClientDiedError, match=r"broker-adapter-01 ended with code 3(.|\n)*what went wrong"):
            everyone.require_alive()


def test_a_client_that_is_done_is_no_failure(standing_in, members):
    with standing_in("pass", members[:1]) as everyone:
        everyone.start()
        assert wait_until(everyone.have_all_ended, seconds=30)
        everyone.require_alive()


def test_leaving_stops_who_still_runs(standing_in, members):
    with standing_in("import time; time.sleep(600)", members[:2]) as everyone:
        everyone.start()
        assert not everyone.have_all_ended()
    assert everyone.have_all_ended()


def test_refusals_are_read_from_what_the_misfits_printed(standing_in):
    script = """if True:
        print('a warning that is no event')
        print('[1]')
        print('{"event": "registered"}')
        print('{"event": "refused", "round": 2, "code": "not_finite", "state": "rejected"}')
    """
    with standing_in(script, [Member("misfit-nan", "user_device", "us-east-1", misbehaviour="nan")]) as everyone:
        everyone.start()
        wait_until(everyone.have_all_ended, seconds=30)
        (refusal,) = everyone.refusals()
    assert (refusal.client, refusal.round, refusal.code) == ("misfit-nan", 2, "not_finite")
    assert refusal.misbehaviour == "sends weights that are not numbers"


def test_every_misbehaviour_has_its_words():
    assert set(crowd.MISBEHAVIOURS) == set(misbehaviour.BODIES)
