"""How the learning rate changes from step to step.

A schedule is a function of the step: what the base rate is multiplied by. The trainer evaluates it
for a whole epoch at once and hands the device one array. Between epochs it tells the schedule the
loss, which :class:`ReduceOnPlateau` goes by.

All raise ``ConfigurationError`` for an option that is out of range, when they are made.
"""

from flagstone.schedules.base import Constant, Schedule
from flagstone.schedules.composed import Product, Sequential
from flagstone.schedules.decay import Exponential, Linear, MultiStep, Piecewise, Polynomial, Step
from flagstone.schedules.plateau import ReduceOnPlateau
from flagstone.schedules.waves import Cosine, CosineRestarts, OneCycle, Triangular

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "Sequential",
    "Step",
    "Triangular",
]

REGISTERED = (
    ("constant", "Constant", "the base rate throughout"),
    ("step", "Step", "times gamma every few epochs"),
    ("multi-step", "MultiStep", "times gamma at given epochs"),
    ("exponential", "Exponential", "times gamma every epoch"),
    ("polynomial", "Polynomial", "down as a power of what is left"),
    ("linear", "Linear", "from one factor to another in a straight line"),
    ("piecewise", "Piecewise", "in straight lines from point to point"),
    ("cosine", "Cosine", "down along half a cosine"),
    ("cosine-restarts", "CosineRestarts", "down along half a cosine, again and again"),
    ("one-cycle", "OneCycle", "up, then down to almost nothing"),
    ("triangular", "Triangular", "up and down in straight lines, again and again"),
    ("reduce-on-plateau", "ReduceOnPlateau", "down when the loss no longer falls"),
    ("sequential", "Sequential", "one schedule after another: parts=(...), at=(5,)"),
    ("product", "Product", "several schedules multiplied: parts=(...)"),
)
"""What the core registers of these: the name in text, the attribute, a line about it."""
