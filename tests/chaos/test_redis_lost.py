"""Redis emptied and Redis dead: a message is a hint, and every hint may be lost."""

import pytest

from demo.misbehaviour import send_misbehaving
from tests.chaos.broker_content import everything_in
from tests.chaos.faults import held_shards, held_table, kill, members, paused, resume
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all

pytestmark = pytest.mark.processes

TOO_EARLY = "SELECT 1 FROM rounds_update WHERE state = 'received' AND next_kick_at > now()"


def decides_an_update(mesh, model):
    return "processing" in mesh.update_states(model) and mesh.waiting_for_a_lock("audit_logentry")


def flush(mesh):
    with mesh.broker() as broker:
        assert broker.dbsize() > 0
        broker.flushall()


def test_messages_are_lost_while_updates_wait(mesh, model, parameters):
    # three of four, so that the fourth place is for one who is refused
    senders = one_hot_senders(parameters)[:3]
    kill(mesh, "worker")
    with paused(mesh, "beat", "reconciler"):
        send_all(mesh, model, senders)
        refused = send_misbehaving(mesh.client("not-a-number")._member(), model, 1, "nan").upload_id
        mesh.until(lambda: mesh.queued("ingest") == 4, "a message waits for each update")
        with mesh.broker() as broker:
            content = everything_in(broker)
        flush(mesh)
        assert mesh.queued("ingest") == 0
        assert mesh.update_states(model) == ["received"] * 4
    mesh.mend()
    check_invariants(mesh, model, senders, refused=[refused])
    # I8: the messages held ids, and named nobody
    assert content.count(b'[["' + refused.encode() + b'"]') == 1, "the body of a message was read"
    names = [model, "not-a-number", *(sender.name for sender in senders)]
    assert [name for name in names if name.encode() in content] == []


def test_redis_is_emptied_in_the_middle_of_a_chord(mesh, model, parameters):
    senders = random_senders(parameters, seed=11)
    with held_shards(mesh, [0, 11]) as run_id:
        send_all(mesh, model, senders)
        mesh.until(lambda: mesh.waiting_for_a_lock("aggregation_shard"), "a child waits to store a shard")
        with mesh.broker() as broker:
            assert any(b"chord" in key or b"taskset" in key for key in broker.scan_iter())
        flush(mesh)
        assert mesh.count("SELECT 1 FROM aggregation_shard WHERE run_id = %s", run_id) < 12
    check_invariants(mesh, model, senders)


def test_the_reconciler_alone_publishes_though_it_is_killed_itself(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    for name in ("beat", "worker"):
        kill(mesh, name)
    with paused(mesh, "reconciler"):
        group = mesh.redis.process.pid
        mesh.redis.process.kill()
        mesh.until(lambda: not members(group), "Redis is gone")
        assert not mesh.redis_answers()
        for sender in senders:
            # returns with a receipt: the upload was answered with 202
            sender.send(mesh, model)
        mesh.until(lambda: not mesh.count(TOO_EARLY), "it is time to look after each update")
        with held_table(mesh, "audit_logentry"):
            resume(mesh, "reconciler")
            mesh.until(lambda: decides_an_update(mesh, model), "it decides updates in its own process")
            kill(mesh, "reconciler")
        assert mesh.update_states(model) == ["processing", "received", "received", "received"]
    mesh.start_program("reconciler")
    check_invariants(mesh, model, senders)
    assert not mesh.redis_answers()
    assert not mesh.processes["worker"].is_running()
    assert not mesh.processes["beat"].is_running()
