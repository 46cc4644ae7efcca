"""The operator's hold-outs: read from a file of his, checked, stored in one form, and read back against their digest.

A hold-out lies under BOLTZ_DATA_DIR beside the weights, in clear and readable by the mesh's own user only. No address
leads to it: clients learn neither its rows nor its scores. A file is named for its model and its SHA-256, so another
hold-out is another file.
"""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from apps.rounds import stores
from apps.rounds.models import FederatedModel
from boltz_core.rounds.gate import Gate, GateError
from boltz_protocol import tasks
from boltz_protocol.errors import ServerFaultError
from boltz_protocol.messages import TaskSpec

# of the operator's file, of each array inside it, and of what is stored: it is read into memory as a whole
MAX_BYTES = 64 << 20
MIN_ROWS = 2
SUFFIX = ".npy"


class DamagedHoldOutError(ServerFaultError):
    """The stored hold-out is gone, or not what was put in place."""

    default_code = "holdout_damaged"


@dataclass(frozen=True, eq=False)
class HoldOut:
    """Examples that no participant has: raw features in the task's order, shape (rows, features), and their targets."""

    features: NDArray[np.float64]
    target: NDArray[np.float64]


# --- the operator's file
# --------------------------------------------------------------------------------------------------


def read_file(path: Path, task: TaskSpec) -> HoldOut:
    """A hold-out from an npz with `X` and `y`, or from a csv whose header names the features and the target.

    Raises:
        GateError: it cannot be read, is too large, or does not fit the task; the message says where.
    """
    raw = _read_bounded(path)
    match path.suffix.lower():
        case ".npz":
            holdout = _from_npz(raw)
        case ".csv":
            holdout = _from_csv(raw, task)
        case _:
            raise GateError(f"{path.name} is neither an .npz nor a .csv")
    check(holdout, task)
    return holdout


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GateError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise GateError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB; take fewer rows")
    return raw


def _from_npz(raw: bytes) -> HoldOut:
    """Arrays of numbers alone: a pickle inside is refused, and so is what unpacks to more than the limit."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return HoldOut(features=_member(archive, "X"), target=_member(archive, "y"))
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError) as error:
        raise GateError("it is not an npz with the arrays X and y (numpy.savez(file, X=..., y=...))") from error


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[np.float64]:
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > MAX_BYTES:
        raise GateError(f"{name} unpacks to more than {MAX_BYTES >> 20} MiB; take fewer rows")
    return _numbers(archive.read(entry), name)


def _numbers(raw: bytes, name: str) -> NDArray[np.float64]:
    """The array in the bytes of an npy file. Its header may promise any shape: memory for that is not there."""
    try:
        array = np.load(io.BytesIO(raw), allow_pickle=False)
    # whatever numpy's parser of headers raises, it is the file that is bad
    except Exception as error:
        raise GateError(f"{name} is not an array of numbers") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise GateError(f"{name} is not an array of numbers")
    return array.astype(np.float64)


def _from_csv(raw: bytes, task: TaskSpec) -> HoldOut:
    try:
        header, _, body = raw.decode("utf-8-sig").partition("\n")
    except UnicodeDecodeError as error:
        raise GateError("the csv is not UTF-8") from error
    columns = [name.strip() for name in header.split(",")]
    wanted = [*task.features, task.target]
    if sorted(columns) != sorted(wanted):
        raise GateError(f"the csv needs the columns {', '.join(wanted)}, and has {', '.join(columns):.200}")
    table = _table(body, len(columns))[:, [columns.index(name) for name in wanted]]
    return HoldOut(features=table[:, :-1], target=table[:, -1])


def _table(body: str, n_columns: int) -> NDArray[np.float64]:
    """The rows below the header."""
    if not body.strip():
        raise GateError("the csv has no rows")
    try:
        table = np.loadtxt(io.StringIO(body), delimiter=",", comments=None, ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise GateError(f"the csv is not a table of numbers: {error}") from error
    if table.shape[1] != n_columns:
        raise GateError(f"the csv has {n_columns} columns in its header and {table.shape[1]} below it")
    return table


def check(holdout: HoldOut, task: TaskSpec) -> None:
    """Refuse examples that the task cannot be scored on.

    Raises:
        GateError: other shapes, too few rows or too many bytes, or a number that is not finite.
    """
    features, target = holdout.features, holdout.target
    try:
        tasks.scale_features(task, features)
    except tasks.TaskError as error:
        raise GateError(error.message) from error
    if target.shape != (len(features),):
        raise GateError(f"the targets have the shape {target.shape}; ({len(features)},) is needed")
    if len(target) < MIN_ROWS:
        raise GateError(f"a hold-out needs {MIN_ROWS} rows or more, and has {len(target)}")
    if features.nbytes + target.nbytes > MAX_BYTES:
        raise GateError(f"the hold-out is larger than {MAX_BYTES >> 20} MiB; take fewer rows")
    if not np.isfinite(target).all():
        raise GateError("targets must be finite")


# --- the stored form
# --------------------------------------------------------------------------------------------------


def directory() -> Path:
    """Where hold-outs lie."""
    return Path(settings.BOLTZ_DATA_DIR) / "holdouts"


def stored_path(model: FederatedModel, sha256: str) -> Path:
    """Where the hold-out of a model with this digest lies."""
    return directory() / f"{model.pk}-{sha256}{SUFFIX}"


def store(model: FederatedModel, holdout: HoldOut) -> str:
    """Put a hold-out in place, durably, for its owner only; returns its digest. Twice is once."""
    buffer = io.BytesIO()
    # in one order of memory: the same numbers have the same digest, wherever they come from
    table = np.ascontiguousarray(np.column_stack([holdout.features, holdout.target]))
    np.save(buffer, table, allow_pickle=False)
    raw = buffer.getvalue()
    sha256 = hashlib.sha256(raw).hexdigest()
    with stores.partial_file(directory()) as file:
        Path(file.name).chmod(0o600)
        file.write(raw)
        stores.publish_file(file, stored_path(model, sha256))
    return sha256


def load(model: FederatedModel, gate: Gate) -> HoldOut:
    """The hold-out that a gate names.

    Raises:
        DamagedHoldOutError: missing, unreadable or other bytes.
    """
    try:
        raw = stored_path(model, gate.holdout_sha256).read_bytes()
    except OSError as error:
        raise DamagedHoldOutError(f"the hold-out of {model} cannot be read: {error.strerror}") from error
    if hashlib.sha256(raw).hexdigest() != gate.holdout_sha256:
        raise DamagedHoldOutError(f"the hold-out of {model} has changed on disk")
    table: NDArray[Any] = np.load(io.BytesIO(raw), allow_pickle=False)
    return HoldOut(features=table[:, :-1], target=table[:, -1])


def forget_others(model: FederatedModel, keep: Gate | None) -> None:
    """Remove what lies there for a model but for the hold-out of its gate."""
    kept = stored_path(model, keep.holdout_sha256) if keep else None
    for path in directory().glob(f"{model.pk}-*{SUFFIX}"):
        if path != kept:
            path.unlink(missing_ok=True)
