"""What a fused form is held to: the numbers, gradients and second gradients of its two ops."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from flagstone import nn, ops
from flagstone.backend import Backend
from flagstone.fusion import FORMS
from flagstone.tape import grad, observe
from flagstone.tensors import Tensor
from flagstone.testing.comparing import given, on, require_close

Form = tuple[Callable[[], list[nn.Layer]], tuple[int, ...]]

CASES: Mapping[str, Form] = {
    "linear_relu": (lambda: [nn.Linear(4, 5), nn.ReLU()], (6, 4)),
    "linear_sigmoid": (lambda: [nn.Linear(4, 5), nn.Sigmoid()], (6, 4)),
    "linear_tanh": (lambda: [nn.Linear(4, 5), nn.Tanh()], (6, 4)),
    "conv_relu": (lambda: [nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()], (2, 5, 4, 3)),
    "batch_norm_relu": (lambda: [nn.BatchNorm2d(3), nn.ReLU()], (3, 4, 4, 3)),
    "axis_norm_relu": (
        lambda: [nn.LayerNorm(4), nn.ReLU(), nn.GroupNorm(2, 4), nn.ReLU(), nn.InstanceNorm(4),
                 nn.ReLU()],
        (3, 5, 2, 4),
    ),
    "axis_rms_norm_relu": (lambda: [nn.RMSNorm(4), nn.ReLU()], (6, 4)),
    "add_relu": (lambda: [nn.Residual(nn.Linear(4, 4)), nn.ReLU()], (5, 4)),
    "max_pool_relu": (lambda: [nn.ReLU(), nn.MaxPool2d(2)], (2, 4, 6, 3)),
}  # fmt: skip
"""Form -> layers whose op and activation it is, and the shape of an input."""


def untested() -> list[str]:
    """The forms of the table that have no case here."""
    return sorted(set(FORMS) - set(CASES))


def claimed(backend: Backend) -> list[str]:
    """The forms that a backend claims."""
    return sorted(FORMS.keys() & set(backend.kernels))


@contextlib.contextmanager
def claiming(backend: Backend, *forms: str) -> Iterator[None]:
    """Within it the backend claims no other forms."""
    before = backend.kernels
    kept = {name: k for name, k in before.items() if name not in FORMS or name in forms}
    backend.kernels = kept
    try:
        yield
    finally:
        backend.kernels = before


def check_form(name: str, backend: Backend) -> None:
    """A claimed form is what layers use, and does what its two ops do.

    Raises:
        AssertionError: the first thing that is not so.
    """
    if name not in CASES:
        raise AssertionError(f"{name}: expected a case in flagstone.testing.form_checks; got none")
    make, shape = CASES[name]
    layer = nn.Sequential(*make(), nn.Identity()).initialize(3, device=str(backend.device))
    values = np.random.default_rng(7).standard_normal(shape).astype("float32")
    with given(f"{name} on {backend.name}"):
        for mode in ("training", "predicting"):
            layer.train(mode == "training")
            with claiming(backend):
                apart, expected = _results(layer, backend, values)
            with claiming(backend, name):
                called, found = _results(layer, backend, values)
            if name != "batch_norm_relu" or mode == "training":  # else it is a product and a sum
                if set(FORMS[name]) - set(apart):
                    raise AssertionError(f"unclaimed, expected {FORMS[name]}; layers call {apart}")
                if name not in called:
                    raise AssertionError(f"claimed, expected layers to use it; they call {called}")
            for what, value in expected.items():
                require_close(found[what], value, 1e-4, f"{what}, {mode}")


def _results(layer: nn.Layer, backend: Backend, values: Any) -> tuple[list[str], dict[str, Any]]:
    """The ops that a forward pass calls; its output and gradients of the first and second order."""
    called: list[str] = []
    (x,) = on(backend, [values])
    x.requires_grad = True
    with observe(lambda op, *_: called.append(op.name)):
        y = layer(x)
    inputs = [x, *layer.parameters()]
    weights = np.random.default_rng(8).standard_normal(y.shape).astype("float32")
    first = grad((y * on(backend, [weights])[0]).sum(), inputs, create_graph=True)
    total: Tensor = ops.sum(y * y)
    for g in first:
        if g is not None:
            total = total + ops.sum(g * g)
    second = grad(total, inputs)
    found = {"the output": np.array(y.numpy())}
    for order, gradients in (("gradient", first), ("second gradient", second)):
        for i, g in enumerate(gradients):
            if g is not None:
                found[f"{order} {i}"] = np.array(g.numpy())
    return called, found
