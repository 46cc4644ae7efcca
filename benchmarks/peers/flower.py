"""Flower's deployment engine: a SuperLink, a SuperNode for each client, and an app of ours that is submitted to them.

As its documents start it, but without TLS and telemetry, and with nothing installed at run time. The SuperLink keeps
its state in memory and starts the process in which the app aggregates; a SuperNode starts one in which a client trains.
"""

from pathlib import Path

from benchmarks.peers.stage import CLIENTS, SERVER, Load, Stage, listens
from local_stack import ports

APP = Path(__file__).parent / "flower_app"
CONNECTION = '[superlink]\ndefault = "bench"\n\n[superlink.bench]\naddress = "{address}"\ninsecure = true\n'
SETTINGS = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_HOME": "{home}"}


def start(stage: Stage, load: Load) -> None:
    """Start server and clients, and the app in them; it trains so many rounds."""
    port = ports.free_port()
    address = f"{ports.LOOPBACK}:{port}"
    start_superlink(stage, port)
    for number in range(load.clients):
        start_supernode(stage, address, number)
    (stage.directory / "config.toml").write_text(CONNECTION.format(address=address))
    settings = " ".join(f"{name}={value}" for name, value in vars(load).items())
    settings += f' deliveries="{stage.deliveries}"'
    stage.run(stage.program("flwr"), "run", str(APP), "bench", "--run-config", settings, name="submission")


def start_superlink(stage: Stage, port: int) -> None:
    """Start the server; returns when it listens."""
    options = ("--insecure", "--disable-runtime-dependency-installation", "--host", ports.LOOPBACK, "--port", str(port))
    stage.start(stage.program("flower-superlink"), *options, role=SERVER, name="superlink")
    stage.wait_for(lambda: listens(port), what="the start of Flower's SuperLink")


def start_supernode(stage: Stage, address: str, number: int) -> None:
    """Start a client; returns at once."""
    options = ("--insecure", "--superlink", address, "--host", ports.LOOPBACK, "--port", str(ports.free_port()))
    command = (stage.program("flower-supernode"), *options, "--node-config", f"number={number}")
    stage.start(*command, role=CLIENTS, name=f"supernode-{number}")
