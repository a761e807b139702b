"""Optimizers: ``fs.optim``."""

from flagstone.optim.adam import Adam, AdamW
from flagstone.optim.optimizer import Optimizer
from flagstone.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
