"""Server optimizers: what makes a step of the model out of what a rule gives.

Elementwise IEEE operations and square roots only, so a replay gives the same bits however a vector is split. Vectors of
state are float32 and belong to a version; they are read and written beside its weights, segment by segment. Numbers are
computed in float64 and rounded once, when they are stored. There is no bias correction: the paper has none.

Sources: momentum is Hsu et al. 2019 (arXiv:1909.06335); Adam, Yogi and Adagrad are Reddi et al. 2021
(arXiv:2003.00295), Algorithm 2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.rules.parameters import Parameter, PlanError, Value, read_parameters
from boltz_core.arrays import Float32Vector, Float64Vector
from boltz_protocol.messages import TensorSpec
from boltz_protocol.tensors import Layout

State: TypeAlias = Mapping[str, Float32Vector]
Numbers: TypeAlias = Mapping[str, float]

FIRST, SECOND = "first_moment", "second_moment"

_FULL_RATE = Parameter("learning_rate", "what the step is multiplied with", 1e-6, 1e3, 1.0)
_RATE = Parameter("learning_rate", "what the step is multiplied with", 1e-6, 1e3, 0.01)
_MOMENTUM = Parameter("momentum", "how much of the last step stays", 0.0, 0.9999, 0.9)
_BETA1 = Parameter("beta1", "how much of the first moment stays", 0.0, 0.9999, 0.9)
_NO_BETA1 = Parameter("beta1", "how much of the first moment stays", 0.0, 0.9999, 0.0)
_BETA2 = Parameter("beta2", "how much of the second moment stays", 0.0, 0.999999, 0.99)
_TAU = Parameter("tau", "how little a step adapts where the second moment is small", 1e-9, 1e3, 1e-3)


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer as the registry lists it.

    `change` turns a step into another, in place, and its state into the next.
    """

    name: str
    meaning: str
    parameters: tuple[Parameter, ...]
    state_names: tuple[str, ...]
    change: Callable[[Float64Vector, dict[str, Float64Vector], Numbers], None]


@dataclass(frozen=True)
class ServerOptimizer:
    """An optimizer with its parameters."""

    kind: OptimizerKind
    values: Numbers

    @property
    def initial_state(self) -> dict[str, float]:
        """What every number of each vector of state is for version 0: 0, and tau squared in the second moment."""
        return {name: self.values["tau"] ** 2 if name == SECOND else 0.0 for name in self.kind.state_names}

    def change_step(self, step: Float64Vector, state: State) -> None:
        """Make the rule's result the model's step, and `state` the next one, in place.

        Raises:
            AggregationError: vectors of other names or lengths, or numbers that float32 cannot hold; all are then void.
        """
        if set(state) != set(self.kind.state_names):
            raise AggregationError(f"{self.kind.name} keeps {self.kind.state_names}; got {tuple(state)}")
        if any(vector.shape != step.shape for vector in state.values()):
            raise AggregationError(f"the state of {self.kind.name} is not as long as the step, {step.shape}")
        wide = {name: vector.astype(np.float64) for name, vector in state.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            self.kind.change(step, wide, self.values)
            for name, vector in state.items():
                np.copyto(vector, wide[name], casting="same_kind")
        if not all(np.isfinite(vector).all() for vector in state.values()):
            raise AggregationError(f"the state of {self.kind.name} is not finite numbers of float32")


def _keep(_step: Float64Vector, _state: dict[str, Float64Vector], _values: Numbers) -> None:
    """The rule's result is the step."""


def _momentum(step: Float64Vector, state: dict[str, Float64Vector], values: Numbers) -> None:
    first = state[FIRST]
    first *= values["momentum"]
    first += step
    np.multiply(first, values["learning_rate"], out=step)


def _adaptive(
    move_second: Callable[[Float64Vector, Float64Vector, Numbers], None],
) -> Callable[[Float64Vector, dict[str, Float64Vector], Numbers], None]:
    """The common part of the three: they differ in how the second moment takes in the squares of the step."""

    def change(step: Float64Vector, state: dict[str, Float64Vector], values: Numbers) -> None:
        first, second = state[FIRST], state[SECOND]
        first *= values["beta1"]
        first += (1 - values["beta1"]) * step
        move_second(second, step * step, values)
        np.divide(first, np.sqrt(second) + values["tau"], out=step)
        step *= values["learning_rate"]

    return change


def _adam(second: Float64Vector, squares: Float64Vector, values: Numbers) -> None:
    second *= values["beta2"]
    second += (1 - values["beta2"]) * squares


def _yogi(second: Float64Vector, squares: Float64Vector, values: Numbers) -> None:
    second -= (1 - values["beta2"]) * squares * np.sign(second - squares)


def _adagrad(second: Float64Vector, squares: Float64Vector, _values: Numbers) -> None:
    second += squares


OPTIMIZERS: Mapping[str, OptimizerKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            OptimizerKind("none", "the rule's result is added as it is", (), (), _keep),
            OptimizerKind("momentum", "steps add up, and fade", (_FULL_RATE, _MOMENTUM), (FIRST,), _momentum),
            OptimizerKind(
                "adam", "large where steps agree", (_RATE, _BETA1, _BETA2, _TAU), (FIRST, SECOND), _adaptive(_adam)
            ),
            OptimizerKind(
                "yogi",
                "as Adam, but the second moment moves slowly",
                (_RATE, _BETA1, _BETA2, _TAU),
                (FIRST, SECOND),
                _adaptive(_yogi),
            ),
            OptimizerKind(
                "adagrad", "smaller and smaller steps", (_RATE, _NO_BETA1, _TAU), (FIRST, SECOND), _adaptive(_adagrad)
            ),
        )
    }
)


def state_layout(optimizer: ServerOptimizer, parameters: int) -> Layout | None:
    """How the state of a model of so many parameters is stored: each vector a tensor; None where there is none."""
    specs = [TensorSpec(name=name, shape=(parameters,)) for name in optimizer.kind.state_names]
    return Layout.from_specs(specs) if specs else None


def make_optimizer(name: str, parameters: Mapping[str, Value] | None = None) -> ServerOptimizer:
    """The optimizer with its parameters, defaults where they are not given.

    Raises:
        PlanError: an optimizer or parameter that does not exist, or a value outside its bounds.
    """
    if name not in OPTIMIZERS:
        raise PlanError(f"there is no optimizer {name!r}; there are {', '.join(OPTIMIZERS)}")
    values = read_parameters(OPTIMIZERS[name].parameters, parameters or {}, of=name)
    return ServerOptimizer(OPTIMIZERS[name], MappingProxyType({key: float(values[key] or 0) for key in values}))
