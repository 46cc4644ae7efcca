"""`boltz-client`: the SDK from a shell. Answers go to standard output (--json: canonical JSON), errors to stderr.

Exit codes: 0 done · 1 the mesh refused · 2 something here has to change (arguments, data, key file) · 3 try again later
· 4 the mesh could not be reached · 5 the mesh is not to be trusted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec

from boltz_client import errors
from boltz_client.client_runtime import FederatedClient
from boltz_client.data_files import read_data
from boltz_client.round_result import RoundResult
from boltz_protocol import codec
from boltz_protocol.messages import ClientKind, ClientRecord, ModelView, UpdateStatus

EXIT_CODES: tuple[tuple[type[errors.FederatedClientError], int], ...] = (
    (errors.LocalError, 2),
    (errors.LaterError, 3),
    (errors.ServerUnreachableError, 4),
    (errors.UntrustedMeshError, 5),
)
URL_VARIABLE = "BOLTZ_MESH_URL"
NAME_VARIABLE = "BOLTZ_CLIENT_NAME"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        with _client(options) as client:
            answer, text = COMMANDS[options.command](client, options)
    except errors.FederatedClientError as error:
        print(f"boltz-client: {error.message}", file=sys.stderr)
        return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
    print(codec.encode(answer).decode() if options.json else text)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="boltz-client",
        description="Take part in a BoltzTrader Federated Learning Mesh. Your data stays on this machine.",
        epilog=(__doc__ or "").partition("\n\n")[2],
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=os.environ.get(URL_VARIABLE), help=f"the mesh (or {URL_VARIABLE})")
    common.add_argument("--name", default=os.environ.get(NAME_VARIABLE), help=f"this client (or {NAME_VARIABLE})")
    common.add_argument(
        "--home", type=Path, help="folder for key, receipts and versions (default ~/.boltz/clients/...)"
    )
    common.add_argument("--passphrase-env", metavar="VARIABLE", help="variable that holds the key file's passphrase")
    common.add_argument(
        "--pin", action="append", metavar="KEY-ID", help="key id of the mesh, known beforehand (--pin=KEY-ID)"
    )
    common.add_argument("--json", action="store_true", help="answer in JSON")
    commands = top.add_subparsers(dest="command", required=True)

    register = commands.add_parser("register", parents=[common], help="enrol at the mesh")
    register.add_argument("--region", required=True)
    register.add_argument("--kind", choices=get_args(ClientKind), default="user_device")
    register.add_argument("--token-env", metavar="VARIABLE", help="variable that holds the enrolment token")

    join = commands.add_parser("join", parents=[common], help="train on a file and send the update")
    join.add_argument("model")
    join.add_argument("--data", type=Path, required=True, help=".csv with a header line, or .npz with X and y")
    join.add_argument("--target", help="the column of the .csv to predict")
    join.add_argument(
        "--ignore", action="append", default=[], metavar="COLUMN", help="a column of the .csv to leave out"
    )
    join.add_argument("--round", type=int, help="default: the current one")
    join.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="wait this long for the decision")

    status = commands.add_parser("status", parents=[common], help="this client, or its update for a model")
    status.add_argument("model", nargs="?")
    status.add_argument("--round", type=int, help="default: the newest sent")

    commands.add_parser("models", parents=[common], help="the models of the mesh")
    commands.add_parser("rotate-key", parents=[common], help="replace this client's key")
    leave = commands.add_parser("leave", parents=[common], help="leave the mesh and be erased there")
    leave.add_argument("--yes", action="store_true", required=True, help="yes, for good")
    return top


def _client(options: argparse.Namespace) -> FederatedClient:
    if not options.url or not options.name:
        raise errors.LocalError(
            f"--url and --name are needed (or {URL_VARIABLE} and {NAME_VARIABLE})", code="missing_argument"
        )
    return FederatedClient(
        options.name,
        options.url,
        home=options.home,
        passphrase=_variable(options.passphrase_env),
        pinned_keys=options.pin,
    )


def _register(client: FederatedClient, options: argparse.Namespace) -> tuple[object, str]:
    record = client.register(options.region, options.kind, _variable(options.token_env))
    return record, f"{record_line(record)}\nhome: {client.home}"


def _join(client: FederatedClient, options: argparse.Namespace) -> tuple[object, str]:
    data = read_data(options.data, target=options.target, ignore=options.ignore)
    result = client.participate_in_round(options.model, data, options.round, wait_for_result=options.wait or False)
    answer = {"receipt": msgspec.to_builtins(result.receipt), "status": msgspec.to_builtins(result.status)}
    return answer, result_lines(result)


def _status(client: FederatedClient, options: argparse.Namespace) -> tuple[object, str]:
    if options.model is None:
        record = client.record()
        return record, record_line(record)
    status = client.status(options.model, options.round)
    return status, status_line(status)


def _models(client: FederatedClient, _options: argparse.Namespace) -> tuple[object, str]:
    views = client.models()
    answer = {"v": 1, "models": [msgspec.to_builtins(view) for view in views]}
    return answer, "\n".join(map(model_line, views)) or "no models yet"


def _rotate_key(client: FederatedClient, _options: argparse.Namespace) -> tuple[object, str]:
    record = client.rotate_key()
    return record, f"new key {record.kid}"


def _leave(client: FederatedClient, _options: argparse.Namespace) -> tuple[object, str]:
    client.leave()
    return {"left": True}, f"{client.name} has left; receipts stay in {client.home}"


COMMANDS = {
    "register": _register,
    "join": _join,
    "status": _status,
    "models": _models,
    "rotate-key": _rotate_key,
    "leave": _leave,
}


def record_line(record: ClientRecord) -> str:
    """A client in one line."""
    trust = f"trust {record.trust.score:.2f} ({record.trust.label}, {record.trust.rounds} rounds)"
    return f"{record.name}  {record.kind}  {record.region}  {record.status}  {trust}  id {record.id}"


def model_line(view: ModelView) -> str:
    """A model in one line."""
    running = "no round" if view.current_round is None else f"round {view.current_round}"
    features = ", ".join(view.task.features) or "its own features"
    return (
        f"{view.name}  {view.task.kind}  version {view.current_version}  {running}  {view.task.target} from {features}"
    )


def status_line(status: UpdateStatus) -> str:
    """An update in one line."""
    parts = [f"{status.model} round {status.round} ({status.round_state})", status.state]
    if status.code or status.reason:
        parts.append(" ".join(part for part in (status.reason, f"[{status.code}]" if status.code else None) if part))
    if status.version is not None:
        parts.append(f"in version {status.version}")
    if status.weight is not None:
        parts.append(f"weight {status.weight:.3f}")
    return "  ".join(parts)


def result_lines(result: RoundResult) -> str:
    """What was sent, and what became of it."""
    dropped = f", {result.invalid_share:.1%} of the rows dropped" if result.invalid_share else ""
    again = " (sent earlier)" if result.resumed else ""
    clipped = " (clipped)" if result.clipped else ""
    return "\n".join(
        [
            f"{result.model} round {result.round}: {result.decision}{again}",
            f"trained on {result.examples} examples{dropped}; norm sent {result.norm_sent:.4g}{clipped}",
            f"receipt for {result.receipt.body_bytes} bytes, sha256 {result.receipt.body_sha256}",
        ]
    )


def _variable(name: str | None) -> str | None:
    if name is None:
        return None
    value = os.environ.get(name)
    if not value:
        raise errors.LocalError(f"the environment variable {name} is empty or not set", code="missing_variable")
    return value
