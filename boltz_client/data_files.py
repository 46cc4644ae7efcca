"""Data files for the command line: .csv by column names, .npz by the arrays X and y. Without pandas, without pickle."""

import csv
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from boltz_client.dataset import NamedColumns
from boltz_client.errors import DataError

_MISSING = frozenset({"", "na", "nan", "null", "none"})


def read_data(path: Path, *, target: str | None, ignore: Collection[str] = ()) -> dict[str, Any]:
    """X and y from a file.

    Raises:
        DataError: no such file, another kind of file, or one without the columns named.
    """
    try:
        if path.suffix == ".npz":
            return _from_npz(path)
        if path.suffix == ".csv":
            return _from_csv(path, target=target, ignore=ignore)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    raise DataError(f"{path} is neither .csv nor .npz")


def _from_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {"X": arrays["X"], "y": arrays["y"]}
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} must hold the plain arrays X and y (np.savez(path, X=X, y=y))") from error


def _from_csv(path: Path, *, target: str | None, ignore: Collection[str]) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        columns = [name.strip() for name in next(rows, [])]
        absent = sorted({target or "", *ignore} - set(columns))
        if target is None or absent:
            raise DataError(
                f"--target names the column to predict, --ignore columns to leave out; {path} has: {', '.join(columns)}"
            )
        kept = [index for index, name in enumerate(columns) if name not in ignore]
        table = [[_number(row, index, path, line) for index in kept] for line, row in enumerate(rows, start=2) if row]
    values = np.array(table, dtype=np.float64).reshape(len(table), len(kept))
    names = [columns[index] for index in kept]
    position = names.index(target) if target in names else None
    if position is None:
        raise DataError(f"--target {target} is among the columns to ignore")
    return {
        "X": NamedColumns([*names[:position], *names[position + 1 :]], np.delete(values, position, axis=1)),
        "y": values[:, position],
    }


def _number(row: list[str], index: int, path: Path, line: int) -> float:
    """One cell; an empty one is missing. The cell itself is never quoted: it is the participant's data."""
    text = row[index].strip() if index < len(row) else ""
    if text.lower() in _MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            f"{path}, line {line}, column {index + 1} is not a number; leave it out with --ignore"
        ) from error
