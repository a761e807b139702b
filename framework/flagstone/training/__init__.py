"""Training: the loop, what it reports, and where a run is kept."""

from flagstone.training.callbacks import Callback
from flagstone.training.full_batch import FullBatchTrainer
from flagstone.training.objective import L2, CrossEntropy, Objective
from flagstone.training.trainer import Trainer

__all__ = ["L2", "Callback", "CrossEntropy", "FullBatchTrainer", "Objective", "Trainer"]
