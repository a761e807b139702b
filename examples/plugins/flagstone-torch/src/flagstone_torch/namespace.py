"""PyTorch as an array namespace: array-api-compat's, on one device."""

from __future__ import annotations

import functools
from typing import Any

import array_api_compat.torch as compat
import torch

CREATION = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")


class Namespace:
    """The array API over PyTorch's tensors.

    The generic form of an op says what to make and never where, so what makes arrays from nothing
    makes them on this namespace's device.

    Args:
        place: PyTorch's device.
    """

    __version__ = torch.__version__

    def __init__(self, place: torch.device) -> None:
        for name in CREATION:
            setattr(self, name, functools.partial(getattr(compat, name), device=place))

    def __getattr__(self, name: str) -> Any:
        found = getattr(compat, name)
        setattr(self, name, found)  # the next look-up finds it at once
        return found
