"""Optimizers: ``fs.optim``.

All raise ``ConfigurationError`` for an option that is out of range, when they are made, and
``InputError`` for states that are not theirs.
"""

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

REGISTERED = (
    ("sgd", "SGD", "gradient descent, momentum, Nesterov"),
    ("adam", "Adam", "Kingma & Ba, 2015"),
    ("adamw", "AdamW", "Adam, decoupled weight decay"),
    ("nadam", "NAdam", "Adam with Nesterov's momentum"),
    ("radam", "RAdam", "Adam that starts as momentum only"),
    ("adamax", "Adamax", "Adam over the largest past gradient"),
    ("rmsprop", "RMSprop", "the gradient over its root mean square"),
    ("adagrad", "Adagrad", "the gradient over the root of its sum of squares"),
    ("adadelta", "Adadelta", "steps in units of past steps"),
    ("lion", "Lion", "the sign of a momentum"),
    ("lamb", "LAMB", "Adam in units of each parameter's norm, for large batches"),
    ("muon", "Muon", "momentum made orthogonal for matrices, AdamW for the rest"),
    ("lookahead", "lookahead", "slow weights behind another optimizer (base=...)"),
    ("lbfgs", "LBFGS", "quasi-Newton on all data; in Python, by step(closure)"),
)
"""What the core registers of these: the name in text, the attribute, a line about it."""
