"""docker-compose.yml and deploy/: read as text, and every command line run as written on the embedded servers.

No container engine is needed: what differs from a container is where things are (addresses, folders), nothing else.
"""

import ast
import os
import re
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import httpx
import psycopg2
import pytest
import yaml
from cryptography import x509
from packaging.version import Version

from local_stack import ports, programs
from local_stack import redis as embedded_redis
from local_stack.postgres import Postgres
from local_stack.processes import Process, ProcessFailedError, Program, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
NGINX = re.sub(r"#.*", "", (ROOT / "deploy" / "nginx.conf").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
RUNNING = ["web", "ingest-worker", "aggregate-worker", "beat", "reconciler"]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::\?([^}]*))?\}|(?<!\$)\$(\w+)")


@pytest.fixture
def made(tmp_path):
    """What deploy/make-env writes, as it writes it."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "make-env", tmp_path / "deploy" / "make-env")

    def make(*arguments):
        command = [tmp_path / "deploy" / "make-env", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False), tmp_path / ".env"

    return make


def variables(file):
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if line and not line.startswith("#"))


def strings(value):
    match value:
        case dict():
            for part in value.values():
                yield from strings(part)
        case list():
            for part in value:
                yield from strings(part)
        case str():
            yield value


def fill(text, values):
    """Compose's own substitution."""
    return VARIABLE.sub(lambda match: values[match[1] or match[3]], text).replace("$$", "$")


# --- the file ---------------------------------------------------------------------------------------------------------


def test_all_roles_are_there_on_the_images_that_were_promised():
    assert set(SERVICES) == {"postgres", "redis", "setup", "nginx", *RUNNING}
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert images["postgres"] == "postgres:18"
    assert images["redis"] == "redis:8"
    assert images["nginx"].startswith("nginx:")
    assert {images[name] for name in ["setup", *RUNNING]} == {"boltz-mesh"}


def test_the_cluster_lies_where_the_image_of_postgresql_18_keeps_it():
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_every_volume_is_declared():
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(".")} == set(COMPOSE["volumes"])
    assert all((ROOT / name).exists() for name in used if name.startswith("."))


def test_everything_that_stays_up_has_a_health_check_and_comes_back():
    for name, service in SERVICES.items():
        if name != "setup":
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_nothing_of_ours_starts_before_the_database_is_up_to_date():
    for name in RUNNING:
        assert SERVICES[name]["depends_on"]["setup"]["condition"] == "service_completed_successfully"
    assert SERVICES["setup"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_only_the_proxy_can_be_reached_and_only_from_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["nginx"]
    assert all(port.startswith("127.0.0.1:") for port in published["nginx"])


def test_our_containers_may_do_nothing_they_need_not():
    for name in ["setup", *RUNNING]:
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert re.search(r"^USER boltz$", DOCKERFILE, re.MULTILINE)


def test_workers_get_the_time_for_a_soft_shutdown():
    for name in ("ingest-worker", "aggregate-worker"):
        assert SERVICES[name]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 60


def queues_of(service):
    """The queues that a worker takes from."""
    command = SERVICES[service]["command"]
    return command[command.index("-Q") + 1].split(",")


def test_every_queue_has_a_worker():
    from worker import queues

    taken = [queue for name in RUNNING if "worker" in name for queue in queues_of(name)]
    assert sorted(taken) == sorted(queue.name for queue in queues.QUEUES)


@pytest.mark.parametrize("service", ["ingest-worker", "aggregate-worker"])
def test_a_workers_health_check_looks_for_a_heartbeat_of_each_of_its_queues(service):
    from worker.heartbeats import worker_kind

    *_, role = SERVICES[service]["healthcheck"]["test"]
    assert sorted(healthcheck().HEARTBEATS[role]) == sorted(map(worker_kind, queues_of(service)))


def test_each_health_check_asks_for_the_role_of_its_service():
    assert {name: SERVICES[name]["healthcheck"]["test"][-1] for name in RUNNING} == {name: name for name in RUNNING}


def test_health_checks_know_the_kinds_of_processes_that_the_dashboard_knows():
    from apps.aggregation.selectors import liveness

    kinds = {kind for kinds in healthcheck().HEARTBEATS.values() for kind in kinds}
    # these are written by several kinds together, or by one whose health is told otherwise
    assert kinds == set(liveness.MEANINGS) - {liveness.TICK, "limits"}


def healthcheck():
    """deploy/healthcheck.py, which is a script and no part of a package."""
    return SimpleNamespace(**runpy.run_path(str(ROOT / "deploy" / "healthcheck.py")))


def test_it_is_no_development_stack():
    for name in ["setup", *RUNNING]:
        environment = SERVICES[name]["environment"]
        assert "BOLTZ_DEV_MODE" not in environment
        assert "DEBUG" not in environment


def test_every_variable_is_written_by_make_env_and_none_is_written_in_vain(made):
    _, file = made()
    found = [match for text in strings(SERVICES) for match in VARIABLE.finditer(text)]
    assert {match[1] or match[3] for match in found} == set(variables(file))
    # without .env nothing starts, and the message says what to do
    assert all("deploy/make-env" in (match[2] or "") for match in found)


def test_no_secret_stands_in_the_file():
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if any(word in key for word in ("PASSWORD", "SECRET", "KEY", "URL")):
                assert VARIABLE.search(value), f"{name}: {key}"


def test_the_web_server_runs_as_it_does_on_one_machine():
    here = programs.web(host="x", port=1).command
    assert list(here) == [sys.executable, *SERVICES["web"]["command"][1:], "--host", "x", "--port", "1"]


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_image_holds_all_that_the_server_imports():
    copied = {line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")}
    assert all((ROOT / name).exists() for name in copied)
    ours = {package.parent.name for package in ROOT.glob("*/__init__.py")} | {"deploy"}
    needed = {"boltz_federated"}
    while more := {name for package in needed for name in imports_of(package)} & ours - needed:
        needed |= more
    assert needed <= copied


def imports_of(package):
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    yield from (alias.name.split(".")[0] for alias in names)
                case ast.ImportFrom(module=str(module), level=0):
                    yield module.split(".")[0]


def test_the_image_installs_exactly_what_the_lock_says():
    assert re.search(r"pip install .*--require-hashes .*-r requirements\.txt", DOCKERFILE)


def test_the_image_has_a_python_that_the_project_supports():
    version = re.search(r"^FROM python:(\d+\.\d+)", DOCKERFILE, re.MULTILINE)[1]
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Version(version) >= Version(least.removeprefix(">="))


def test_secrets_and_local_data_do_not_reach_the_build():
    assert {".env", ".boltz", ".git"} <= set((ROOT / ".dockerignore").read_text().split())


# --- the proxy --------------------------------------------------------------------------------------------------------


def block(opening):
    """The inside of the first block that starts so."""
    start = NGINX.index(opening) + len(opening)
    depth = 1
    for position in range(start, len(NGINX)):
        depth += {"{": 1, "}": -1}.get(NGINX[position], 0)
        if depth == 0:
            return NGINX[start:position]
    raise AssertionError(opening)


def test_the_proxy_takes_a_whole_upload_before_a_thread_is_given_to_it():
    uploads = block("updates/[^/]+$ {")
    assert "proxy_request_buffering on;" in uploads
    assert "client_max_body_size 512m;" in uploads


def test_the_path_of_uploads_is_the_one_of_the_api():
    pattern = re.search(r"location ~ (\S+) \{", NGINX)[1]
    from django.urls import reverse

    assert re.match(pattern, reverse("update", kwargs={"name": "boltz-core", "number": 7, "upload_id": "u_x"}))
    assert not re.match(pattern, reverse("participation", kwargs={"name": "boltz-core", "number": "7"}))


def test_all_other_bodies_are_small():
    assert "client_max_body_size 1m;" in NGINX.replace(block("updates/[^/]+$ {"), "")
    assert NGINX.count("client_max_body_size") == 2


def test_a_slow_body_and_a_slow_header_are_cut():
    for directive in ("client_body_timeout", "client_header_timeout", "send_timeout"):
        assert int(re.search(rf"{directive} (\d+)s;", NGINX)[1]) <= 30
    assert re.search(r"limit_conn connections \d+;", NGINX)


def test_what_a_client_claims_about_itself_is_overwritten():
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in NGINX
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in NGINX
    # a location with headers of its own would lose these
    assert NGINX.count("proxy_set_header") == 4


def test_the_name_that_a_client_signed_is_handed_on():
    assert "proxy_set_header Host $http_host;" in NGINX


def test_the_proxy_speaks_to_the_port_where_the_web_server_listens():
    assert f"server web:{SERVICES['web']['environment']['GRANIAN_PORT']} " in NGINX
    assert SERVICES["nginx"]["ports"][0].endswith(":8443")
    assert "listen 8443 ssl;" in NGINX


def test_the_metrics_are_not_for_the_world():
    assert "return 404;" in block("location = /metrics {")


def test_the_proxys_own_refusals_are_problems_with_codes_of_the_table():
    import msgspec

    from boltz_federated.problems import PROBLEMS
    from boltz_protocol import codec
    from boltz_protocol.messages import Problem

    bodies = re.findall(r"return (\d+) '([^']+)';", NGINX)
    assert len(bodies) == 3
    for status, body in bodies:
        problem = codec.decode(body.encode(), Problem)
        assert problem.status == int(status)
        assert problem.code in PROBLEMS
        assert msgspec.json.decode(body)["type"] == f"urn:boltz-mesh:problem:{problem.code}"


# --- the scripts ------------------------------------------------------------------------------------------------------


def test_secrets_are_made_for_one_reader_and_are_never_made_again(made):
    ran, file = made("mesh.example.org", "localhost")
    assert ran.returncode == 0
    first = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert variables(file)["ALLOWED_HOSTS"] == "mesh.example.org,localhost"
    assert not any(value in ran.stdout for value in variables(file).values() if len(value) > 15)
    again, _ = made()
    assert again.returncode == 1
    assert "left as it is" in again.stderr
    assert file.read_text() == first


def test_two_meshes_share_no_secret(made, tmp_path):
    _, file = made()
    first = variables(file)
    file.unlink()
    made()
    second = variables(file)
    secret = [name for name in first if any(word in name for word in ("PASSWORD", "SECRET", "KEY"))]
    assert len(secret) == 5
    assert not any(first[name] == second[name] for name in secret)


def test_a_name_that_would_change_the_file_is_refused(made):
    ran, file = made("good.example.org", "bad\nDEBUG=1")
    assert ran.returncode == 2
    assert not file.exists()


def run(script, *arguments, **environment):
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_certificate_is_made_once_for_the_names_of_the_mesh(tmp_path):
    hosts = "localhost,127.0.0.1,[::1],.example.org"
    ran = run("make_certificate.py", BOLTZ_TLS_DIR=str(tmp_path), ALLOWED_HOSTS=hosts)
    assert ran.returncode == 0, ran.stderr
    raw = (tmp_path / "server.crt").read_bytes()
    certificate = x509.load_pem_x509_certificate(raw)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.example.org"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    certificate.verify_directly_issued_by(certificate)
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600
    run("make_certificate.py", BOLTZ_TLS_DIR=str(tmp_path), ALLOWED_HOSTS="other.example.org")
    assert (tmp_path / "server.crt").read_bytes() == raw


def test_a_role_that_is_not_there_is_no_healthy_one():
    ran = run("healthcheck.py", "everything")
    assert ran.returncode == 2
    assert "usage" in ran.stderr


@pytest.mark.parametrize("role", RUNNING)
def test_a_role_that_cannot_be_asked_is_not_healthy(role):
    nowhere = {
        "DATABASE_URL": f"postgresql://u:p@127.0.0.1:{ports.free_port()}/x",
        "GRANIAN_PORT": str(ports.free_port()),
    }
    ran = run("healthcheck.py", role, **nowhere)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"{role}: ")
    assert "Traceback" not in ran.stderr


# --- every command line, as written -----------------------------------------------------------------------------------


class Machine:
    """Runs services of the file on this machine: other addresses and folders, the same commands and environment."""

    def __init__(self, directory, values):
        self.directory = directory
        self.values = values
        self.postgres = Postgres(directory / "cluster", fast=True)
        self.redis_port = ports.free_port()
        self.web_port = ports.free_port()
        self.processes = {}
        binaries = directory / "bin"
        binaries.mkdir()
        # the image's server listens on its own address and port; nothing else is added to the command line
        shim = binaries / "redis-server"
        shim.write_text(
            f'#!/bin/sh\nexec "{embedded_redis._binary()}" "$@" --port {self.redis_port} --bind 127.0.0.1 --dir "{binaries}"\n'
        )
        shim.chmod(0o755)
        self.path = f"{binaries}:{Path(sys.executable).parent}:/usr/bin:/bin"
        for name in ("data", "tls"):
            (directory / name).mkdir()

    def environment(self, service):
        places = {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": f"redis://:{self.values['REDIS_PASSWORD']}@127.0.0.1:{self.redis_port}/0",
            "BOLTZ_DATA_DIR": str(self.directory / "data"),
            "BOLTZ_TLS_DIR": str(self.directory / "tls"),
            "GRANIAN_HOST": ports.LOOPBACK,
            "GRANIAN_PORT": str(self.web_port),
        }
        written = {name: fill(text, self.values) for name, text in SERVICES[service]["environment"].items()}
        placed = {name: places.get(name, value) for name, value in written.items()}
        # the container has nothing else; the tick rings sooner, so that the test ends sooner
        return placed | {"PATH": self.path, "BOLTZ_TICK_SECONDS": "1", "LANG": "C.UTF-8"}

    def start(self, service):
        command = tuple(fill(part, self.values) for part in SERVICES[service]["command"])
        process = Process(
            Program(service, command, orphan_signal=signal.SIGKILL), directory=self.directory, working_directory=ROOT
        )
        self.processes[service] = process
        process.start(environment=self.environment(service))
        return process

    def is_healthy(self, service):
        self.processes[service].require_running()
        return self.looks_healthy(service)

    def looks_healthy(self, service):
        """What the health check says, were there still a container to run it in."""
        kind, *command = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return (
            subprocess.run(
                command, cwd=ROOT, env=self.environment(service), check=False, capture_output=True
            ).returncode
            == 0
        )

    def stop(self):
        for process in self.processes.values():
            process.kill()
        self.postgres.stop()


@pytest.fixture
def machine(directory, made):
    ran, file = made("localhost")
    assert ran.returncode == 0
    made_machine = Machine(directory, variables(file))
    yield made_machine
    made_machine.stop()


@pytest.mark.processes
def test_every_service_starts_as_written_and_its_health_check_says_so(machine):
    machine.postgres.start()
    machine.start("redis")
    setup = machine.start("setup")
    assert wait_until(lambda: not setup.is_running(), seconds=120)
    assert setup.exit_code == 0, setup.log_tail()
    assert (machine.directory / "tls" / "server.crt").exists()
    assert (machine.directory / "data" / "static" / "admin").is_dir()

    for name in RUNNING:
        machine.start(name)
    for name in RUNNING:
        assert wait_until(lambda name=name: machine.is_healthy(name), seconds=120), machine.processes[name].log_tail()

    # behind the proxy it answers, without it everything is sent to TLS, and strangers' names are refused
    address = f"http://{ports.LOOPBACK}:{machine.web_port}"
    with httpx.Client(base_url=address, trust_env=False, timeout=10) as visitor:
        secure = {"Host": "localhost", "X-Forwarded-Proto": "https"}
        assert visitor.get("/admin/login/", headers=secure).status_code == 200
        assert visitor.get("/api/v1/models", headers={"Host": "localhost"}).status_code == 301
        assert visitor.get("/admin/login/", headers=secure | {"Host": "elsewhere.example.org"}).status_code == 400

    # and the settings are what Django calls fit for deployment
    checked = subprocess.run(
        ["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=machine.environment("web"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr

    # a dead worker is found out, and nobody else is blamed
    machine.processes["aggregate-worker"].kill()
    with closing(psycopg2.connect(machine.postgres.url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE aggregation_heartbeat SET at = now() - interval '1 hour'")
    for name in ("ingest-worker", "beat", "reconciler"):
        assert wait_until(lambda name=name: machine.is_healthy(name), seconds=60), name
    assert not machine.looks_healthy("aggregate-worker")

    # what is dead is not healthy for long
    machine.processes["web"].kill()
    with pytest.raises(ProcessFailedError, match="web ended"):
        machine.is_healthy("web")
    machine.start("web")
    machine.processes["web"].send_to_group(signal.SIGSTOP)
    assert not machine.is_healthy("web")
