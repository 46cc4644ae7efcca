"""Celery as reliability needs it: what is named exists, what exists is routed, and nothing depends on a message."""

import importlib

import pytest

from apps import dispatch
from apps.aggregation import tasks as aggregation_tasks
from apps.rounds import tasks as round_tasks
from boltz_federated import celery_app
from worker import configuration, queues, schedule


def own_tasks():
    """The mesh's tasks by name."""
    celery_app.loader.import_default_modules()
    return {name: task for name, task in celery_app.tasks.items() if not name.startswith("celery.")}


def test_every_task_has_a_queue_and_every_route_a_task():
    assert set(own_tasks()) == set(queues.ROUTES)
    declared = {queue.name for queue in queues.QUEUES}
    assert {route["queue"] for route in queues.ROUTES.values()} == declared == {"control", "ingest", "aggregate"}
    assert configuration.task_default_queue in declared


def test_every_name_that_work_is_started_by_is_a_task_and_the_other_way_round():
    names = {value for name, value in vars(dispatch).items() if name.isupper() and isinstance(value, str)}
    assert names == set(queues.ROUTES)


def test_a_message_goes_to_the_queue_of_its_route():
    for name, route in queues.ROUTES.items():
        found = celery_app.amqp.router.route({}, name)
        assert found["queue"].name == route["queue"]
        assert found["queue"].routing_key == route["queue"]


def test_a_queue_that_is_not_declared_does_not_come_into_being():
    assert celery_app.conf.task_create_missing_queues is False


def test_the_schedule_rings_one_tick_that_expires_before_the_next_one():
    [entry] = schedule.SCHEDULE.values()
    assert entry["task"] in own_tasks()
    assert entry["options"]["expires"] == entry["schedule"] == schedule.TICK_SECONDS


def test_the_tick_is_as_long_as_the_environment_says(monkeypatch):
    monkeypatch.setenv("BOLTZ_TICK_SECONDS", "0.5")
    try:
        assert importlib.reload(schedule).SCHEDULE["tick"]["schedule"] == 0.5
    finally:
        monkeypatch.undo()
        importlib.reload(schedule)


@pytest.mark.parametrize("name", sorted(queues.ROUTES))
def test_a_task_is_acknowledged_late_and_tried_twice_more_at_most(name):
    task = own_tasks()[name]
    assert (task.acks_late, task.reject_on_worker_lost, task.max_retries) == (True, True, 2)


def test_results_are_kept_for_the_members_of_a_chord_only():
    kept = {name for name, task in own_tasks().items() if not task.ignore_result}
    assert kept == {aggregation_tasks.measure_shard.name, aggregation_tasks.combine_shard.name}


def test_only_json_is_read():
    assert configuration.accept_content == configuration.result_accept_content == ["json"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("worker_prefetch_multiplier", 1),
        ("worker_enable_remote_control", False),
        ("broker_connection_retry_on_startup", True),
        ("broker_connection_max_retries", None),
        ("worker_soft_shutdown_timeout", 60),
        ("task_time_limit", 240),
        ("task_soft_time_limit", 200),
        ("result_chord_join_timeout", 30),
        ("worker_hijack_root_logger", False),
    ],
)
def test_a_setting_that_answers_a_measured_loss_is_in_force(setting, value):
    assert celery_app.conf[setting] == value


@pytest.mark.parametrize("option", ["socket_timeout", "socket_connect_timeout", "visibility_timeout"])
def test_publishing_to_a_redis_that_hangs_ends(option):
    assert 0 < celery_app.conf.broker_transport_options[option] < 1000
    assert celery_app.conf.task_publish_retry_policy["max_retries"] == 1


def test_keys_in_redis_have_the_meshs_prefix():
    assert celery_app.conf.broker_transport_options["global_keyprefix"] == configuration.KEY_PREFIX
    assert celery_app.conf.result_backend_transport_options["global_keyprefix"] == configuration.KEY_PREFIX


def test_each_task_makes_one_call(monkeypatch):
    calls = []
    for module, name in (
        (round_tasks, "process_update"),
        (round_tasks, "advance_round"),
        (round_tasks, "judge_candidate"),
        (aggregation_tasks, "aggregate_round"),
        (aggregation_tasks, "measure_shard"),
        (aggregation_tasks, "decide_run"),
        (aggregation_tasks, "combine_shard"),
        (aggregation_tasks, "finish_run"),
        (aggregation_tasks, "tick"),
    ):
        monkeypatch.setattr(module.services, name, lambda *arguments, name=name: calls.append((name, *arguments)))
    round_tasks.process_update("id")
    round_tasks.advance_round(1)
    round_tasks.judge_candidate(7)
    aggregation_tasks.aggregate_round(2)
    aggregation_tasks.measure_shard(8, 9)
    aggregation_tasks.decide_run(10)
    aggregation_tasks.combine_shard(3, 4)
    aggregation_tasks.finish_run(5)
    aggregation_tasks.tick()
    assert calls == [
        ("process_update", "id"),
        ("advance_round", 1),
        ("judge_candidate", 7),
        ("aggregate_round", 2),
        ("measure_shard", 8, 9),
        ("decide_run", 10),
        ("combine_shard", 3, 4),
        ("finish_run", 5),
        ("tick", "tick"),
    ]
