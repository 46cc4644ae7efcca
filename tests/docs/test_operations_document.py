"""docs/operations.md: variables, metrics, policy, processes and commands are those of the code."""

import re
import shlex

import msgspec
import pytest
import yaml
from django.core.management import CommandError, get_commands, load_command_class

from apps.aggregation.models import Heartbeat
from apps.aggregation.selectors import liveness, mesh_metrics
from apps.clients.services.enrolment import MAX_WAITING_CLIENTS
from apps.keys import services as keys
from apps.rounds import services as rounds
from boltz_core.rounds import policy as policies
from boltz_federated import starter_models
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import RoundPolicy
from tests.apps.mesh import data
from tests.docs import documents, environment_reads

TEXT = documents.read("docs/operations.md")
# the shell's own, which ./dev sets for what it starts
OF_THE_SHELL = {"PATH", "VIRTUAL_ENV"}
COMPOSE = yaml.safe_load(documents.read("docker-compose.yml"))


def variables_written():
    """Each variable of the document's tables, with its default as written."""
    rows = [row for table in documents.tables_with(TEXT, "variable") for row in table.rows]
    written = {documents.plain(name): default for name, default, _ in rows}
    assert len(written) == len(rows), "a variable stands twice"
    return written


def test_every_environment_variable_that_is_read_stands_in_a_table_and_no_other():
    assert set(variables_written()) == set(environment_reads.variables()) - OF_THE_SHELL


def test_the_defaults_are_those_of_the_code():
    written = variables_written()
    wrong = {
        name: (written[name], default)
        for name, default in environment_reads.variables().items()
        if name not in OF_THE_SHELL and default is not environment_reads.UNKNOWN and not says(written[name], default)
    }
    assert wrong == {}


def says(cell, default):
    """Whether a cell says this default."""
    if default is environment_reads.REQUIRED:
        return cell == "required"
    if default is False:
        return cell == "off"
    if default in ("", []):
        return cell == "none"
    text = documents.plain(cell.split(" ")[0])
    return float(text) == default if isinstance(default, int | float) else text == default


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('os.environ["NAME"]', {"NAME": environment_reads.REQUIRED}),
        ('os.environ["NAME"] = "x"', {}),
        ('os.environ.get("NAME", "30")', {"NAME": "30"}),
        ('env.int("NAME", default=1 << 4)', {"NAME": 16}),
        ('env.list("NAME")', {"NAME": environment_reads.REQUIRED}),
        ('required("NAME", "advice")', {"NAME": environment_reads.REQUIRED}),
        ('positive("NAME", default=30.0, most=60)', {"NAME": 30.0}),
        ('switch("NAME")', {"NAME": False}),
        ('rate("NAME", default="1/2")', {"NAME": "1/2"}),
        ('quota("NAME", default=1 << 4)', {"NAME": 16}),
        ('env.str("NAME", default=other)', {"NAME": environment_reads.UNKNOWN}),
    ],
)
def test_each_way_to_read_a_variable_is_found(source, found):
    assert environment_reads.reads_of(source) == found


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def families(mesh):
    mesh.make_model()
    mesh.client("alpha").participate_in_round("boltz-core", data(), round_number=1)
    Heartbeat.objects.create(kind="beat", at="2026-01-01T00:00:00Z")
    return list(mesh_metrics().collect())


def test_every_metric_stands_in_the_table_with_its_labels_and_no_other(families):
    (table,) = documents.tables_with(TEXT, "metric")
    written = {documents.plain(name): documents.plain(labels) for name, labels, _ in table.rows}
    found = {
        family.name: ",".join({label for sample in family.samples for label in sample.labels}) for family in families
    }
    assert written == found


def test_alerts_name_metrics_that_exist(families):
    (table,) = documents.tables_with(TEXT, "alert")
    named = set(re.findall(r"boltz_\w+", " ".join(table.column("when"))))
    assert named
    assert named <= {family.name for family in families}


def test_every_heartbeat_stands_in_the_table_and_no_other():
    (table,) = documents.tables_with(TEXT, "kind")
    assert [documents.plain(kind) for kind in table.column("kind")] == list(liveness.MEANINGS)


def test_alerts_name_heartbeats_that_exist():
    (table,) = documents.tables_with(TEXT, "alert")
    patterns = re.findall(r'kind=~?"([^"]+)"', " ".join(table.column("when")))
    alarmed = {kind for kind in liveness.MEANINGS for pattern in patterns if re.fullmatch(pattern, kind)}
    assert alarmed == set(liveness.MEANINGS)
    assert all(any(re.fullmatch(pattern, kind) for kind in liveness.MEANINGS) for pattern in patterns)


# --- policy, keys, processes ------------------------------------------------------------------------------------------


def policy_rows():
    (table,) = documents.tables_with(TEXT, "field")
    return {documents.plain(name): bounds for name, bounds, _ in table.rows}


def test_every_field_of_a_policy_stands_in_the_table_and_no_other():
    assert set(policy_rows()) == set(RoundPolicy.__struct_fields__)


@pytest.mark.parametrize("field", ["max_norm", "quorum", "target", "round_seconds", "replay_window_days"])
def test_the_bounds_of_a_policy_hold_and_end_where_the_table_says(field):
    start = msgspec.convert(starter_models.read("boltz-core")["policy"], RoundPolicy)
    wide = msgspec.structs.replace(start, quorum=1, target=policies.MAX_TARGET)
    low, high = policy_rows()[field].replace("`quorum`", str(wide.quorum)).split(" to ")
    for bound, outwards in ((low, -1), (high, 1)):
        value = float(bound) if field == "max_norm" else int(bound)
        beyond = value * 10**outwards if field == "max_norm" else value + outwards
        policies.check_policy(msgspec.structs.replace(wide, **{field: value}))
        with pytest.raises(SenderError):
            policies.check_policy(msgspec.structs.replace(wide, **{field: beyond}))


def test_the_modes_are_the_ones_available():
    assert policy_rows()["mode"] == f"`{policies.AVAILABLE_MODES[0]}`"
    assert len(policies.AVAILABLE_MODES) == 1


def test_the_processes_are_those_of_the_compose_file():
    (table,) = documents.tables_with(TEXT, "process")
    written = {name.lower().replace("postgresql", "postgres") for name in table.column("process")}
    found = {name.rpartition("-")[2] for name in COMPOSE["services"]} - {"setup"}
    assert written == found


def test_a_lost_encryption_key_is_noticed_at_the_next_start_and_rotation_mends_it(mesh):
    """What the runbook says under "Key missing"."""
    lost = keys.encryption_key().kid
    keys.key_store().destroy(lost)
    with pytest.raises(keys.KeyMissingError, match="is in the database but not in the key directory"):
        keys.ensure_mesh_keys()
    rounds.rotate_encryption_key(actor="test")
    assert keys.ensure_mesh_keys() == []


def test_a_lost_signing_key_cannot_be_rotated_away(mesh):
    keys.key_store().destroy(keys.signing_key().kid)
    with pytest.raises(keys.KeyMissingError):
        keys.rotate_signing_key()


def test_as_many_clients_may_wait_as_the_runbook_says():
    assert f"{MAX_WAITING_CLIENTS} clients wait for approval" in TEXT


# --- commands ---------------------------------------------------------------------------------------------------------


def commands():
    """Every `python manage.py ...` line of the document."""
    for block in documents.code_blocks(TEXT, "bash"):
        for line in block.splitlines():
            if line.startswith("python manage.py "):
                yield line.removeprefix("python manage.py ")


def test_there_are_commands():
    assert len(list(commands())) > 5


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_parses(line):
    name, *words = shlex.split(line)
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    parser.called_from_command_line = False
    try:
        parser.parse_args(words)
    except CommandError as error:
        pytest.fail(f"{line}: {error}")


def test_every_command_of_ours_is_named():
    ours = {name for name, app in get_commands().items() if str(app).startswith(("apps.", "boltz_federated"))}
    assert {name for name in ours if name not in TEXT} == set()


def test_services_that_docker_compose_commands_name_exist():
    lines = [line for block in documents.code_blocks(TEXT, "bash") for line in block.splitlines()]
    named = {match[1] for line in lines for match in [re.match(r"docker compose exec (?:-T )?(\w+)", line)] if match}
    assert named
    assert named <= set(COMPOSE["services"])
