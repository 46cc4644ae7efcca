"""Tasks and a policy to start a new model from, small enough to be changed by hand."""

from typing import Any

_FEATURES = {"features": ["first_feature", "second_feature"], "center": [0.0, 0.0], "scale": [1.0, 1.0], "clip": 4.0}
_TARGET = {"target": "what_is_predicted", "metric": "mse", "activation": "relu"}

TASKS: dict[str, dict[str, Any]] = {
    "linear": {"kind": "linear", **_FEATURES, "hidden": [], **_TARGET},
    "mlp": {"kind": "mlp", **_FEATURES, "hidden": [32, 16], **_TARGET},
    "custom": {"kind": "custom", "features": [], "center": [], "scale": [], "clip": None, "hidden": [], **_TARGET},
}

POLICY: dict[str, Any] = {
    "mode": "robust",
    "rule": "weighted_mean",
    "max_norm": 1.0,
    "quorum": 3,
    "target": 100,
    "example_cap": 1000,
    "round_seconds": 21_600,
    "replay_window_days": 30,
}
