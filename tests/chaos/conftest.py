"""One mesh for all fault tests of a process; each test finds it whole, and takes a model that nobody has used."""

import celery
import pytest

from tests.chaos.withheld import unlimited, wire
from tests.integration.running_mesh import PREFIX, running

__all__ = ["unlimited", "wire"]

pytest.register_assert_rewrite("tests.chaos.invariants", "tests.chaos.departures", "tests.chaos.hostile_rounds")

SEGMENT = 16_384
SHARDS = 12
# one segment more than shards, and a short one
PARAMETERS = SHARDS * SEGMENT + 5
# longer than in other tests: a busy machine that loses a lease in each round would prove nothing about the fault
SETTINGS = {"BOLTZ_SHARD_PARAMETERS": str(SEGMENT), "BOLTZ_TICK_SECONDS": "1", "BOLTZ_LEASE_SECONDS": "6"}
MODELS = 14
# no test takes more
MODELS_OF_A_TEST = 3


@pytest.fixture(scope="session")
def mesh_of_the_session():
    with running("--no-model", name="chaos", fast=False, settings=SETTINGS) as mesh:
        yield mesh


@pytest.fixture
def mesh(mesh_of_the_session):
    mesh_of_the_session.mend()
    if mesh_of_the_session.count_fresh_models() < MODELS_OF_A_TEST:
        mesh_of_the_session.add_models(MODELS, parameters=PARAMETERS, target=4)
    return mesh_of_the_session


@pytest.fixture
def model(mesh):
    return mesh.fresh_model()


@pytest.fixture
def parameters():
    return PARAMETERS


@pytest.fixture
def send_task(mesh):
    """Put a message into a queue, as the mesh does."""
    with celery.Celery("test", broker=mesh.redis.url, set_as_current=False) as app:
        app.conf.broker_transport_options = {"global_keyprefix": PREFIX}
        with app.connection_for_write() as connection:

            def send(task, *ids, queue, **options):
                app.send_task(task, args=list(ids), queue=queue, ignore_result=True, connection=connection, **options)

            yield send
