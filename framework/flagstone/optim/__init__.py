"""Optimizers: ``fs.optim``."""

from flagstone.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from flagstone.optim.adaptive import Adadelta, Adagrad, RMSprop
from flagstone.optim.averaging import EMA
from flagstone.optim.lamb import LAMB
from flagstone.optim.lbfgs import LBFGS
from flagstone.optim.lion import Lion
from flagstone.optim.muon import Muon
from flagstone.optim.optimizer import Common, Optimizer
from flagstone.optim.sgd import SGD
from flagstone.optim.slow_weights import Lookahead, lookahead
from flagstone.optim.weight_decay import with_weight_decay

__all__ = [
    "EMA",
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Common",
    "Lion",
    "Lookahead",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "lookahead",
    "with_weight_decay",
]
