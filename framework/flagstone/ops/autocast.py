"""Mixed precision: which ops compute in 16 bits, and the casts that see to it.

Where a backend was opened in ``mixed-fp16`` or ``mixed-bf16``, the one door calls :func:`autocast`
before every op. :data:`RULES` is the whole policy; it follows PyTorch's lists for
``torch.autocast`` on cards (docs.pytorch.org, "Automatic mixed precision", op-specific behaviour):

* ``LOW``: matrix products and convolutions. Floating arguments are taken in 16 bits; the products
  are added up in float32.
* ``WIDE``: what overflows or loses digits: powers, exponentials, sums, norms, losses. Arguments
  are taken in float32. In a backward pass an op has its gradients' dtypes, as in PyTorch.
* ``OWN``: normalisation over a batch reads and writes 16 bits, and has its statistics and
  parameters in float32.
* every other op computes in the widest dtype among its arguments, so in 16 bits between two of
  the first kind.

Parameters are float32, and what the optimizer changes; ops of the first kind take a copy in 16
bits that :meth:`flagstone.nn.parameter.Flat.lower` makes after every step, of all of them at once.
float64 is left alone.
"""

from __future__ import annotations

from typing import Any

from flagstone.tape import state
from flagstone.tensors import Tensor

WIDE_DTYPE = "float32"

LOW, WIDE, OWN = "16 bits", "float32", "x in 16 bits, parameters in float32"

RULES: dict[str, str] = {
    **dict.fromkeys(
        (
            "conv", "conv_input_grad", "conv_weight_bias_grad", "conv_weight_grad", "conv_relu",
            "conv_max_pool_relu",
            "linear", "linear_weight_grad", "linear_relu", "linear_sigmoid", "linear_tanh",
            "batched_matmul",
        ),
        LOW,
    ),
    **dict.fromkeys(
        (
            "power", "rsqrt", "exp", "expm1", "log", "log1p", "sum", "cumsum", "norm",
            "softmax", "log_softmax", "logsumexp", "softplus", "normal_cdf",
            "softmax_cross_entropy", "binary_cross_entropy_with_logits",
            "squared_error", "logistic_error",
            "axis_norm", "axis_norm_relu", "axis_rms_norm", "axis_rms_norm_relu", "standardized",
        ),
        WIDE,
    ),
    **dict.fromkeys(("batch_norm", "batch_norm_grad", "batch_norm_relu"), OWN),
}  # fmt: skip
"""Op -> how it is computed; those that are not here take the widest dtype of their arguments."""

IMAGES = ("x", "g", "residual")
"""The arguments of ``OWN`` ops that are of 16 bits."""


def autocast(op: Any, inputs: tuple[Any, ...], low: str) -> tuple[Any, ...]:
    """``inputs`` in the dtypes that the op is to have them in; themselves if they are.

    Args:
        op: what is called.
        inputs: its array arguments.
        low: the dtype of 16 bits.
    """
    names = [x.dtype_name if isinstance(x, Tensor) else "" for x in inputs]
    castable = (low, WIDE_DTYPE)
    wanted = _wanted(op, names, low)
    if all(n == w or n not in castable for n, w in zip(names, wanted, strict=True)):
        return inputs
    return tuple(
        _cast(x, w, low) if n in castable and n != w else x
        for x, n, w in zip(inputs, names, wanted, strict=True)
    )


def _wanted(op: Any, names: list[str], low: str) -> list[str]:
    """The dtype for each floating input; those of other dtypes than the two are not looked at."""
    rule = RULES.get(op.name)
    if op.mutates:  # what is written to an array is of its dtype
        target = names[op.arrays.index(op.mutates[0])]
        return [target] * len(names) if target in (low, WIDE_DTYPE) else names
    if rule == LOW and "float64" not in names:
        return [low] * len(names)
    if rule == OWN:
        own = low if low in names else WIDE_DTYPE
        return [own if op.arrays[i] in IMAGES else WIDE_DTYPE for i in range(len(names))]
    if (rule == WIDE and not state.pulling) or (low in names and WIDE_DTYPE in names):
        return [WIDE_DTYPE] * len(names)
    return names


def _cast(x: Any, dtype: str, low: str) -> Any:
    copy = getattr(x, "low", None)  # a parameter's
    if copy is not None and dtype == low:
        copy.edge = None if x.edge is None else x.low_edge
        return copy
    from flagstone.ops.elementwise import cast

    return cast(x, dtype=dtype)
