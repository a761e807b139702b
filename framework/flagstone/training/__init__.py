"""Training: the loop, what it reports, and where a run is kept."""

from flagstone.training.callbacks import Callback, Lines
from flagstone.training.full_batch import FullBatchTrainer
from flagstone.training.objective import L2, CrossEntropy, Objective
from flagstone.training.rounds import Rounds, require_same_run
from flagstone.training.trainer import Trainer

__all__ = [
    "L2",
    "Callback",
    "CrossEntropy",
    "FullBatchTrainer",
    "Lines",
    "Objective",
    "Rounds",
    "Trainer",
    "require_same_run",
]
