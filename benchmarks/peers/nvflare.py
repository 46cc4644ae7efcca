"""NVFlare in its POC form: a server and a site for each client, as its own tool lays them out, and a job of ours.

As its documents start it, but without TLS (`connection_security: clear`), and with each start script asked to run its
program once instead of watching over it. Server and sites each start a process for the job.
"""

import json
from pathlib import Path

from benchmarks.peers.stage import CLIENTS, SERVER, Load, Stage, listens
from local_stack import ports

APP = Path(__file__).parent / "nvflare_app"
PROJECT = "bench"
ADMIN = "admin@nvidia.com"
# a server that is called so listens on the loopback only, by any other name on all addresses
SERVER_HOST = "localhost"
BUILDERS = (
    "workspace.WorkspaceBuilder",
    "static_file.StaticFileBuilder",
    "cert.CertBuilder",
    "signature.SignatureBuilder",
)


SETTINGS = {"NVFLARE_POC_WORKSPACE": "{home}/poc"}


def start(stage: Stage, load: Load) -> None:
    """Start server and clients, and the job in them; it trains so many rounds."""
    port = ports.free_port()
    sites = [f"site-{number + 1}" for number in range(load.clients)]
    kits = prepare(stage, port, sites)
    stage.start("bash", str(kits / SERVER_HOST / "startup" / "sub_start.sh"), "--once", role=SERVER, name="server")
    stage.wait_for(lambda: listens(port), what="the start of NVFlare's server")
    for site in sites:
        stage.start("bash", str(kits / site / "startup" / "sub_start.sh"), "--once", role=CLIENTS, name=site)
    numbers = [word for name, value in vars(load).items() for word in (f"--{name}", str(value))]
    paths = ("--kit", str(kits / ADMIN), "--deliveries", str(stage.deliveries))
    stage.run(str(stage.python), str(APP / "submit.py"), *numbers, *paths, name="submission")


def prepare(stage: Stage, port: int, sites: list[str]) -> Path:
    """Let NVFlare's tool make the folders to start from; returns where they are."""
    file = stage.directory / "project.yml"
    # JSON is YAML
    file.write_text(json.dumps(project(port, sites)))
    stage.run(stage.program("nvflare"), "poc", "prepare", "--force", "-i", str(file), name="preparation")
    return stage.directory / "poc" / PROJECT / "prod_00"


def project(port: int, sites: list[str]) -> dict[str, object]:
    """The tool's own example of a project with our names, our port, and without TLS."""
    template = {"template_file": ["master_template.yml", "aws_template.yml", "azure_template.yml"]}
    options: dict[str, dict[str, object]] = {BUILDERS[0]: template, BUILDERS[1]: {"config_folder": "config"}}
    return {
        "api_version": 3,
        "name": PROJECT,
        "description": PROJECT,
        "connection_security": "clear",
        "participants": [
            {"name": SERVER_HOST, "type": "server", "org": "nvidia", "fed_learn_port": port},
            *({"name": site, "type": "client", "org": "nvidia"} for site in sites),
            {"name": ADMIN, "type": "admin", "org": "nvidia", "role": "project_admin"},
        ],
        "builders": [{"path": f"nvflare.lighter.impl.{name}", "args": options.get(name, {})} for name in BUILDERS],
    }
