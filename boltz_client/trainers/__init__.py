"""What trains: the two methods a participant's own model must offer, and the trainers that come with the SDK.

`linear` needs numpy alone; `mlp` takes scikit-learn if it is there, else PyTorch; `custom` is whatever the participant
brings.
"""

import importlib.util

from boltz_client.errors import TrainerError
from boltz_client.trainers.linear import LinearTrainer
from boltz_client.trainers.protocol import Trainer, Weights
from boltz_client.trainers.sklearn import SklearnTrainer
from boltz_client.trainers.torch import TorchTrainer
from boltz_protocol.messages import TaskSpec

__all__ = ["LinearTrainer", "SklearnTrainer", "TorchTrainer", "Trainer", "Weights", "default_trainer"]


def default_trainer(task: TaskSpec) -> Trainer:
    """The trainer for a task when the caller brings none.

    Raises:
        TrainerError: a custom task, or an mlp without scikit-learn and PyTorch.
    """
    if task.kind == "linear":
        return LinearTrainer(task)
    if task.kind == "mlp" and importlib.util.find_spec("sklearn"):
        return SklearnTrainer(task)
    if task.kind == "mlp" and importlib.util.find_spec("torch"):
        return TorchTrainer(task)
    if task.kind == "mlp":
        raise TrainerError("an mlp needs scikit-learn or PyTorch: pip install 'boltz-client[sklearn]' (or [torch])")
    raise TrainerError("this model's task is custom: pass trainer=..., an object with train() and evaluate()")
