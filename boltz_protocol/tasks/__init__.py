"""What a model computes from which features, in numpy, for both ends. Callers need this package's names only."""

from boltz_protocol.tasks.task import (
    METRICS,
    TaskError,
    check_task,
    layout_of,
    predict,
    scale_features,
    score,
    seed_weights,
)

__all__ = ["METRICS", "TaskError", "check_task", "layout_of", "predict", "scale_features", "score", "seed_weights"]
