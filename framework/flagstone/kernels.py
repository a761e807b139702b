"""What is known of a kernel beside its arguments, and how a plugin's goes before a backend's own.

A kernel is a function with an op's name and arguments. What else a backend has to know of it are
attributes of the function, of which :class:`Traits` has the names and types.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

Array = Any  # an array of some backend's namespace; the standard defines no type to name
Kernel = Callable[..., Any]
K = TypeVar("K", bound=Kernel)

EXACT = "exact"
"""The precision that every backend has: all values are of the dtype that they are said to be, and
products are not rounded on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of a kernel beside its arguments; also the decorator that says so.

    ``@Traits(least=100)`` sets what it is given and leaves other traits as they are.

    Attributes:
        may_decline: it returns ``NotImplemented`` for arguments that it does not serve; set by
            :func:`declines`.
        least: a plugin's kernel that may decline is not even asked where its first array has fewer
            values; the backend's own serves such calls, or the generic form.
        into: the same for recorded steps on the CPU and for first gradients of large parameters:
            ``into(out, *arrays, **static)`` writes to ``out``, a tuple of several outputs.
        over: the inputs whose place ``out`` may take over, because each of its values depends only
            on the value at the same place there, read before it is written.
        serves: of a plugin's kernel that may decline, ``serves(*inputs, **static)`` tells by shapes
            and dtypes which calls of a recorded step are its; others are the backend's own.
        served_by: a plugin's kernel and the backend's own behind it; set by :func:`in_front`.
    """

    may_decline: bool = False
    least: int = 0
    into: Kernel | None = None
    over: tuple[int, ...] = ()
    serves: Callable[..., bool] | None = None
    served_by: tuple[Kernel, ...] = ()

    def __call__(self, kernel: K) -> K:
        """Set on ``kernel`` what is not as it is by default."""
        for trait in fields(self):
            value = getattr(self, trait.name)
            if value != trait.default:
                setattr(kernel, trait.name, value)
        return kernel


def traits(kernel: Kernel | None) -> Traits:
    """What is known of ``kernel``."""
    found: dict[str, Any] = {t.name: getattr(kernel, t.name, t.default) for t in fields(Traits)}
    return Traits(**found)


def declines(kernel: K) -> K:
    """Mark a kernel that returns ``NotImplemented`` for arguments it does not serve.

    The generic form then serves the call, and a ``RuntimeWarning`` says so once; of a plugin's
    kernel, the kernel that it replaces, if there is one.
    """
    return Traits(may_decline=True)(kernel)


def takes_precision(kernel: Kernel) -> bool:
    """Whether a kernel has the keyword argument ``precision``."""
    return "precision" in inspect.signature(kernel).parameters


def with_fallback(backend: str, op: str, kernel: Kernel, generic: Kernel, least: int = 0) -> Kernel:
    """A kernel that may decline, and the op's generic form for what it does.

    Where the first array has fewer values than ``least``, the generic form is as quick, and
    nothing is said.
    """
    told = False

    def bound(*arrays: Array, **static: Any) -> Any:
        nonlocal told
        if least and arrays[0].size < least:
            return generic(*arrays, **static)
        result = kernel(*arrays, **static)
        if result is not NotImplemented:
            return result
        if not told:
            told = True
            dtypes = ", ".join(str(getattr(a, "dtype", type(a).__name__)) for a in arrays)
            warnings.warn(
                f"{op}: the kernel of {backend} does not serve ({dtypes}); "
                "the generic form does, more slowly",
                RuntimeWarning,
                stacklevel=4,
            )
        return generic(*arrays, **static)

    return bound


def in_front(added: Kernel, own: Kernel | None) -> Kernel:
    """A plugin's kernel, and the backend's own that it replaces for what it declines."""
    known = traits(added)
    if own is None or not known.may_decline:
        return added
    least = known.least
    takes = [takes_precision(k) for k in (added, own)]

    def plain(*arrays: Array, **static: Any) -> Any:
        if least and arrays[0].size < least:
            return own(*arrays, **static)
        result = added(*arrays, **static)
        return own(*arrays, **static) if result is NotImplemented else result

    def precise(*arrays: Array, precision: str = EXACT, **static: Any) -> Any:
        first, second = ({"precision": precision} if wanted else {} for wanted in takes)
        if least and arrays[0].size < least:
            return own(*arrays, **static, **second)
        result = added(*arrays, **static, **first)
        return own(*arrays, **static, **second) if result is NotImplemented else result

    kernel = precise if any(takes) else plain
    functools.update_wrapper(kernel, added)
    del vars(kernel)["__wrapped__"]  # whose signature is not this one's
    vars(kernel)["may_decline"] = traits(own).may_decline
    return Traits(served_by=(added, own))(kernel)


def settled(kernel: Kernel, arrays: Sequence[Any]) -> Kernel:
    """What serves calls with arrays of these sizes: the backend's own kernel, where a plugin's is
    not even asked."""
    known = traits(kernel)
    if known.served_by and known.least and arrays[0].size < known.least:
        return known.served_by[-1]
    return kernel
