"""How the learning rate changes from step to step.

A schedule is a function of the step: what the base rate is multiplied by. The trainer evaluates it
for a whole epoch at once and hands the device one array. Between epochs it tells the schedule the
loss, which :class:`ReduceOnPlateau` goes by.
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
