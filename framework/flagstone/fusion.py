"""The fused forms: pairs of ops that a backend may do as one.

A backend claims a form by having a kernel of its name, with the first op's arguments. Layers then
hand it the form (``nn/fused.py``); where none is claimed, the two ops run one after the other, with
the same numbers but for rounding. Each form is an op as well (``ops/fused.py``), whose gradients
are those of the two; that of the activation needs the output only, which is small after pooling.

Softmax and cross-entropy are one op, ``softmax_cross_entropy``, on every backend, and no row here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FORMS: Mapping[str, tuple[str, str]] = {
    "linear_relu": ("linear", "relu"),  # the bias is linear's and conv's own
    "linear_sigmoid": ("linear", "sigmoid"),
    "linear_tanh": ("linear", "tanh"),
    "conv_relu": ("conv", "relu"),
    "batch_norm_relu": ("batch_norm", "relu"),
    "axis_norm_relu": ("axis_norm", "relu"),  # layer, group and instance normalisation
    "axis_rms_norm_relu": ("axis_rms_norm", "relu"),
    "add_relu": ("add", "relu"),  # the end of a residual block
    "max_pool_relu": ("max_pool", "relu"),  # in either order, for the two commute
}
"""Name -> the op and the activation of its (first) output."""

PREDICTING: Mapping[str, tuple[str, str, str]] = {
    "conv_max_pool_relu": ("conv", "max_pool", "relu"),
}
"""The same for three, where nobody wants gradients: the largest array, the convolution's output,
need not be made then. Its op has no pullback."""

FROM_DATA: Mapping[str, tuple[str, ...]] = {
    "standardized": ("take_rows", "cast", "pick_pixels", "subtract", "multiply"),
}
"""Name -> the ops that bring a batch from the data to what a first layer of ``Standardize`` makes
of it, some of which may be missing; ``nn/examples.py`` takes it."""

GRADIENTS: Mapping[str, tuple[str, str]] = {
    "conv_weight_bias_grad": ("conv_weight_grad", "sum"),
}
"""Name -> the gradients of a weight and of its bias, which read the same array, where nobody wants
gradients of them in turn. The pullback of ``ops/conv.py`` takes it."""

FORM_OF: Mapping[tuple[str, str], str] = {parts: name for name, parts in FORMS.items()}


def _all_forms() -> Iterator[tuple[str, tuple[str, ...]]]:
    for table in (FORMS, PREDICTING, FROM_DATA, GRADIENTS):
        yield from table.items()


def without_stale(own: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """A backend's own kernels and those that plugins add, without the forms that know nothing of
    them: a form whose op a plugin replaced goes, unless the plugin brings the form too."""
    stale = {
        name for name, parts in _all_forms()
        if name not in added and not added.keys().isdisjoint(parts)
    }  # fmt: skip
    return {**{name: kernel for name, kernel in own.items() if name not in stale}, **added}
