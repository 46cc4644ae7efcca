"""One mesh for all fault tests of a process; each test finds it whole, and takes a model that nobody has used."""

import pytest

from tests.integration.running_mesh import running

pytest.register_assert_rewrite("tests.chaos.invariants")

SEGMENT = 16_384
SHARDS = 12
# one segment more than shards, and a short one
PARAMETERS = SHARDS * SEGMENT + 5
MODELS = 14


@pytest.fixture(scope="session")
def mesh_of_the_session():
    with running("--no-model", name="chaos", settings={"BOLTZ_SHARD_PARAMETERS": str(SEGMENT)}) as mesh:
        mesh.add_models(MODELS, parameters=PARAMETERS, target=4)
        yield mesh


@pytest.fixture
def mesh(mesh_of_the_session):
    mesh_of_the_session.mend()
    return mesh_of_the_session


@pytest.fixture
def model(mesh):
    return mesh.fresh_model()


@pytest.fixture
def parameters():
    return PARAMETERS
