"""What a task computes, for both ends: its checks, its tensors, its features, its predictions and its score.

The task is part of a model's signed manifest, so client and server scale the same columns by the same numbers and mean
the same by each weight. All arithmetic is float64; weights travel as float32. `linear` and `mlp` compute here, each in
its own file; `custom` is computed by whatever the participant brings, and every function that would have to compute
refuses it.

Left to others: training (boltz_client.trainers), names of columns in a table (the SDK).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError, SenderError
from boltz_protocol.messages import TaskSpec
from boltz_protocol.tasks import linear, mlp
from boltz_protocol.tensors import Float64Vector, Layout, LayoutError

METRICS = ("mse", "mae", "r2")

# Shape (n_rows, n_features): one row per example, columns in the task's order.
Float64Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class TaskError(SenderError):
    """A task that contradicts itself or is not computed here (`invalid_task`), or unfit data (`bad_features`)."""

    default_code = "invalid_task"


def check_task(task: TaskSpec) -> None:
    """Check that a task makes sense as a whole: its fields' ranges, then their relations.

    Raises:
        TaskError: a field out of range, lengths that disagree, a feature named twice, hidden layers where there are
            none or none where there must be, or a metric that cannot be computed.
    """
    try:
        codec.decode(codec.encode(task), TaskSpec, max_bytes=16 * codec.MAX_MESSAGE_BYTES)
    except MalformedMessageError as error:
        raise TaskError(error.message) from error
    n_features = len(task.features)
    if not len(task.center) == len(task.scale) == n_features:
        raise TaskError(f"{n_features} features need as many centers and scales")
    if len(set(task.features)) != n_features:
        raise TaskError("a feature is named twice")
    if (task.kind == "mlp") != bool(task.hidden):
        raise TaskError("an mlp has hidden layers, other tasks have none")
    if task.kind == "custom":
        return
    if not n_features:
        raise TaskError(f"a {task.kind} task needs features")
    if task.metric not in METRICS:
        raise TaskError(f"the metric {task.metric!r} is none of {', '.join(METRICS)}")


def layout_of(task: TaskSpec) -> Layout:
    """The tensors of a task's weights.

    Raises:
        TaskError: a custom task, whose layout is declared, not computed.
        LayoutError: more weights than a layout can hold.
    """
    if task.kind == "linear":
        return Layout.from_specs(linear.tensor_specs(len(task.features)))
    if task.kind == "mlp":
        return Layout.from_specs(mlp.tensor_specs(mlp.widths(task)))
    raise TaskError("a custom task is computed by its participants alone")


def scale_features(task: TaskSpec, X: NDArray[Any]) -> Float64Table:
    """Scale raw features: clip((x - center) / scale, -clip, clip).

    Args:
        task: checked.
        X: shape (n_rows, n_features), numbers in the features' own units; columns in the task's order.

    Returns:
        Shape (n_rows, n_features), float64, finite.

    Raises:
        TaskError: `bad_features`: another shape, not numbers, or not finite before or after scaling.
    """
    try:
        table: Float64Table = np.array(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TaskError("features must be numbers in rows of equal length", code="bad_features") from error
    if table.ndim != 2 or table.shape[1] != len(task.features):  # noqa: PLR2004 - rows and columns
        raise TaskError(
            f"features have the shape {table.shape}; (rows, {len(task.features)}) is needed", code="bad_features"
        )
    _check_finite(table)
    with np.errstate(over="ignore"):
        table -= np.array(task.center)
        table /= np.array(task.scale)
    if task.clip is not None:
        np.clip(table, -task.clip, task.clip, out=table)
    _check_finite(table)
    return table


def predict(task: TaskSpec, weights: Mapping[str, NDArray[Any]], scaled: NDArray[Any]) -> Float64Vector:
    """Predict the target from scaled features.

    Args:
        task: checked; linear or mlp.
        weights: the tensors of `layout_of(task)`, by name.
        scaled: shape (n_rows, n_features), from `scale_features`.

    Returns:
        Shape (n_rows,), float64, in the units of the target.

    Raises:
        TaskError: a custom task.
        LayoutError: weights of other names or shapes.
    """
    if Layout.of(weights) != layout_of(task):
        raise LayoutError("the weights are not those of the task")
    weights64 = {name: np.asarray(array, dtype=np.float64) for name, array in weights.items()}
    rows = np.asarray(scaled, dtype=np.float64)
    if task.kind == "linear":
        return linear.predict(weights64, rows)
    return mlp.predict(weights64, rows, n_layers=len(task.hidden) + 1, activation=task.activation)


def seed_weights(task: TaskSpec, *, seed: bytes) -> dict[str, NDArray[np.float32]]:
    """The weights of version 0, the same on every machine for the same seed.

    Args:
        task: checked; linear (all zeros) or mlp (Glorot-uniform weights from SHAKE-256 of the seed, zero biases).
        seed: any bytes; they need not be secret.

    Raises:
        TaskError: a custom task, whose first weights are brought along.
        LayoutError: more weights than a layout can hold.
    """
    layout = layout_of(task)  # refuses what is too large before anything is allocated
    if task.kind == "linear":
        return {spec.name: np.zeros(spec.shape, np.float32) for spec in layout.specs}
    return mlp.seed_weights(mlp.widths(task), seed=seed)


def score(task_metric: str, target: NDArray[Any], predicted: NDArray[Any]) -> float:
    """How good predictions are: "mse" and "mae" are errors, "r2" the share of variance explained (1 is perfect).

    The r2 of a constant target is 1 when it is met exactly, else 0 (as scikit-learn has it), since its variance is
    zero.

    Args:
        task_metric: one of METRICS.
        target: shape (n_rows,), at least one row.
        predicted: the same shape.

    Raises:
        TaskError: another metric, or (code `bad_features`) other shapes.
    """
    truth, guess = np.asarray(target, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != guess.shape or not truth.size:
        raise TaskError(f"targets {truth.shape} and predictions {guess.shape} do not match", code="bad_features")
    residual = truth - guess
    if task_metric == "mse":
        return float(np.mean(residual**2))
    if task_metric == "mae":
        return float(np.mean(np.abs(residual)))
    if task_metric == "r2":
        return _r2(truth, residual)
    raise TaskError(f"the metric {task_metric!r} is none of {', '.join(METRICS)}")


def _r2(truth: Float64Vector, residual: Float64Vector) -> float:
    unexplained, total = float(np.sum(residual**2)), float(np.sum((truth - truth.mean()) ** 2))
    if total == 0:
        return float(unexplained == 0)
    return 1 - unexplained / total


def _check_finite(table: Float64Table) -> None:
    if not np.isfinite(table).all():
        raise TaskError("features must be finite", code="bad_features")
