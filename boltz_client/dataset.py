"""A participant's X and y -> the examples a trainer sees: columns by name, rows without gaps, features scaled.

Tables are anything with `.columns` and `.to_numpy()` (pandas, `NamedColumns`); arrays are taken in the task's order of
features. Rows with a missing or infinite value are dropped and counted, never filled. Nothing here keeps or prints a
value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltz_client.errors import DataError
from boltz_protocol import tasks
from boltz_protocol.messages import TaskSpec
from boltz_protocol.tasks import TaskError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NamedColumns:
    """A table for those who have no pandas: `values` has shape (n_rows, len(columns))."""

    columns: Sequence[str]
    values: Floats

    def to_numpy(self) -> Floats:
        """The values, as pandas gives them."""
        return self.values


@dataclass(frozen=True)
class Examples:
    """What is trained on: X scaled, shape (count, n_features); y, shape (count,).

    `invalid_share`: rows dropped, of all. `feature_coverage`: values of X that were present and finite, of all.
    """

    X: Floats
    y: Floats
    invalid_share: float
    feature_coverage: float

    @property
    def count(self) -> int:
        """How many rows are left."""
        return len(self.y)


def prepare(task: TaskSpec, data: Mapping[str, Any]) -> Examples:
    """Check, clean and scale {"X": ..., "y": ...}.

    Raises:
        DataError: keys, columns, shapes, lengths or types that do not fit the task, or no valid row.
    """
    raw_X, raw_y = _parts(data)
    X, y = raw_features(task, raw_X), _numbers(raw_y, "y")
    if task.kind != "custom" and y.shape[1:] == (1,):
        y = y[:, 0]
    if task.kind != "custom" and y.ndim != 1:
        raise DataError(f"y has the shape {y.shape}; one number per row is needed ({task.target})")
    if y.ndim == 0 or len(X) != len(y):
        raise DataError(f"X has {len(X)} rows and y has {y.shape[0] if y.ndim else 'none'}; they must be the same rows")
    _check_same_index(raw_X, raw_y)
    if not len(y) or not X.size:
        raise DataError("X and y are empty")
    valid = _finite_rows(X) & _finite_rows(y)
    if not valid.any():
        raise DataError(
            f"each of the {len(y)} rows has a missing or infinite value in X or y; nothing is left to train on"
        )
    return Examples(
        X=scale(task, X[valid]),
        y=y[valid],
        invalid_share=1 - int(valid.sum()) / len(y),
        feature_coverage=float(np.isfinite(X).mean()),
    )


def raw_features(task: TaskSpec, X: Any) -> Floats:
    """The task's columns of X, in its order, not yet scaled.

    Raises:
        DataError: a table with other columns, or an array with another number of them.
    """
    wanted = list(task.features)
    if hasattr(X, "columns") and hasattr(X, "to_numpy"):
        columns = [str(column) for column in X.columns]
        if sorted(columns) != sorted(wanted):
            raise DataError(_columns_message(columns, wanted))
        return _numbers(X, "X")[:, [columns.index(name) for name in wanted]]
    values = _numbers(X, "X")
    if task.kind == "custom" and not wanted and values.ndim:
        return values
    if values.ndim != 2 or values.shape[1] != len(wanted):  # noqa: PLR2004 - rows and columns
        raise DataError(
            f"X has the shape {values.shape}; (rows, {len(wanted)}) is needed, in this order: {', '.join(wanted)}"
        )
    return values


def scale(task: TaskSpec, X: Floats) -> Floats:
    """The task's scaling; a custom task without features takes X as it is.

    Raises:
        DataError: values that overflow when scaled.
    """
    if task.kind == "custom" and not task.features:
        return X
    try:
        return tasks.scale_features(task, X)
    except TaskError as error:
        raise DataError(f"X cannot be scaled as the model asks: {error.message}") from error


def _parts(data: Mapping[str, Any]) -> tuple[Any, Any]:
    if not isinstance(data, Mapping) or set(data) != {"X", "y"}:
        found = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise DataError(f'data must be {{"X": ..., "y": ...}}; found {found}')
    return data["X"], data["y"]


def _numbers(values: Any, what: str) -> Floats:
    """As float64; None and pandas' NA become NaN."""
    try:
        if hasattr(values, "to_numpy") and not isinstance(values, NamedColumns):
            return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
        return np.asarray(values.values if isinstance(values, NamedColumns) else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        # The reason is left out on purpose: it would quote a value of the data.
        raise DataError(f"{what} holds something that is not a number; convert or drop it first") from error


def _finite_rows(values: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values.reshape(len(values), -1)).all(axis=1))


def _check_same_index(X: Any, y: Any) -> None:
    """Stop rows that were sorted or filtered on one side only from being paired by position."""
    both_pandas = all(hasattr(part, "to_numpy") and hasattr(part, "index") for part in (X, y))
    if both_pandas and not X.index.equals(y.index):
        raise DataError("X and y have different indexes, so their rows do not belong together; use y.loc[X.index]")


def _columns_message(columns: list[str], wanted: list[str]) -> str:
    missing = [name for name in wanted if name not in columns]
    extra = sorted({name for name in columns if name not in wanted or columns.count(name) > 1})
    return (
        f"X does not have the model's columns. Missing: {', '.join(missing) or 'none'}. "
        f"Not the model's, or twice: {', '.join(extra) or 'none'}. Needed exactly: {', '.join(wanted)}."
    )
