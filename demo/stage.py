"""The demo's mesh: a stack of its own in a temporary directory, with `boltz-core` made for this crowd.

Nothing of it is kept: a demo neither reads nor touches the data of `./dev up`.
"""

from pathlib import Path

from local_stack import ports
from local_stack.errors import StackError
from local_stack.mesh import Mesh
from local_stack.ports import PortTakenError

MODEL = "boltz-core"


def require_free_port(port: int) -> None:
    """Refuse a taken port before anything is started; the message names it, its holder, and the way out.

    Raises:
        StackError: the port is taken.
    """
    try:
        ports.require_free(port, variable="BOLTZ_PORT")
    except PortTakenError as error:
        raise StackError(
            f"{error}\nFor the demo: ./dev demo --port {port + 1}, or --port 0 for any free one."
        ) from error


def open_mesh(directory: Path, *, port: int) -> Mesh:
    """A mesh that has not been started yet; port 0 takes a free one."""
    return Mesh(directory, port=port)


def start_mesh(mesh: Mesh, *, members: int) -> None:
    """Start everything; a round seals as soon as all members have sent their updates, and the next one opens."""
    mesh.start_servers()
    mesh.manage("migrate", "--noinput")
    mesh.first_start("--no-model")
    mesh.manage("create_model", "--starter", MODEL, "--target", str(members), "--keep-open", "--open")
    mesh.start_programs()
    mesh.wait_until_ready()
