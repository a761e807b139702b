"""ONNX's own node tests, and the models it converted from PyTorch, run on our ops.

The runner below is as small as it can be: each operator becomes the op that users call. Images come
channels first and are turned. What it leaves out is listed in ``LEFT_OUT``, with the reason.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops

onnx = pytest.importorskip("onnx", reason="runs ONNX's own tests; onnx is not installed")

from onnx.backend import base, test  # noqa: E402  # after the check that there is an onnx

LEFT_OUT = {
    "test_maxpool_2d_uint8": "ops pool floating-point numbers only",
}
"""Of the cases below those that do not run, with the reason."""

NAMED = (
    r"^test_(basic_conv|conv_with|convtranspose|maxpool|batchnorm|gemm|softmax)(?!.*_expanded).*_cpu$",
    r"^test_(Conv\d|ConvTranspose|MaxPool|BatchNorm|Linear|Softmax|softmax_(lastdim|functional)).*_cpu$",
)  # the 104 that were agreed on
FURTHER = (
    r"^test_averagepool(?!.*dilations).*_cpu$",  # PyTorch's average pooling has no dilation either
    r"^test_(AvgPool|globalaveragepool|globalmaxpool|relu|sigmoid|tanh|elu|leakyrelu|logsoftmax)"
    r"(?!.*_expanded)(?!.*bfloat16).*_cpu$",
)

Attributes = dict[str, Any]


def turned(a: np.ndarray) -> fs.Tensor:
    """Channels last; of weights the second axis too."""
    return fs.tensor(np.moveaxis(a, 1, -1))


def back(y: fs.Tensor) -> np.ndarray:
    return np.moveaxis(y.numpy(), -1, 1)


def window(attributes: Attributes, size: tuple[int, ...], kernel: tuple[int, ...]) -> Attributes:
    """Strides, dilations and padding in our words."""
    d = len(size)
    stride = tuple(attributes.get("strides", (1,) * d))
    dilation = tuple(attributes.get("dilations", (1,) * d))
    pads = attributes.get("pads", (0,) * (2 * d))
    padding: Any = tuple(zip(pads[:d], pads[d:], strict=True))
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    if auto == "SAME_UPPER":
        padding = "same"
    elif auto == "SAME_LOWER":  # the odd zero before
        reach = [a * (k - 1) + 1 for a, k in zip(dilation, kernel, strict=True)]
        total = [
            max((math.ceil(n / s) - 1) * s + r - n, 0)
            for n, s, r in zip(size, stride, reach, strict=True)
        ]
        padding = tuple((t - t // 2, t // 2) for t in total)
    return {"stride": stride, "dilation": dilation, "padding": padding}


def conv(a: Attributes, x: np.ndarray, w: np.ndarray, b: Any = None) -> np.ndarray:
    how = window(a, x.shape[2:], w.shape[2:])
    function = getattr(ops, f"conv{x.ndim - 2}d")
    bias = None if b is None else fs.tensor(b)
    return back(function(turned(x), turned(w), bias, groups=a.get("group", 1), **how))


def conv_transpose(a: Attributes, x: np.ndarray, w: np.ndarray, b: Any = None) -> np.ndarray:
    d = x.ndim - 2
    auto = a.get("auto_pad", b"NOTSET").decode()
    how = window({**a, "auto_pad": b"NOTSET"}, x.shape[2:], w.shape[2:])
    extra = tuple(a.get("output_padding", (0,) * d))
    wanted = a.get("output_shape")
    if auto.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], how["stride"], strict=True)]
    if wanted is not None:  # the specification's formula for the padding
        axes = zip(
            x.shape[2:], how["stride"], w.shape[2:], how["dilation"], extra, wanted, strict=True
        )
        total = [s * (n - 1) + e + (k - 1) * r + 1 - m for n, s, k, r, e, m in axes]
        halves = [t // 2 for t in total]
        rest = [t - h for t, h in zip(total, halves, strict=True)]
        first, last = (halves, rest) if auto == "SAME_UPPER" else (rest, halves)
        extra = tuple(e + max(-t, 0) for e, t in zip(extra, last, strict=True))
        how["padding"] = tuple((f, max(t, 0)) for f, t in zip(first, last, strict=True))
    function = getattr(ops, f"conv_transpose{d}d")
    bias = None if b is None else fs.tensor(b)
    return back(
        function(turned(x), turned(w), bias, output_padding=extra, groups=a.get("group", 1), **how)
    )


def max_pool(a: Attributes, x: np.ndarray) -> Any:
    d, kernel = x.ndim - 2, tuple(a["kernel_shape"])
    how = window(a, x.shape[2:], kernel)
    if how["padding"] == "same" or max(how["dilation"]) > 1 or a.get("ceil_mode", 0):
        function = getattr(ops, f"max_pool{d}d")
        return back(function(turned(x), kernel, ceil_mode=bool(a.get("ceil_mode", 0)), **how))
    # The op itself: it tells where the maxima are, and takes padding of more than half a window.
    stride, padding = how["stride"], how["padding"]
    y, index = ops.max_pool(turned(x), kernel=kernel, stride=stride, padding=padding)
    taps = np.unravel_index(back(index).astype(int), kernel)
    places = np.meshgrid(*map(np.arange, y.shape[1:-1]), indexing="ij")
    at = [p * s + t - lo for p, s, t, (lo, _) in zip(places, stride, taps, padding, strict=True)]
    if a.get("storage_order", 0):  # column-major: the last spatial axis is the slowest
        where = np.ravel_multi_index(at[::-1], x.shape[:1:-1])
    else:
        where = np.ravel_multi_index(at, x.shape[2:])
    image = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * d)
    return back(y), image * math.prod(x.shape[2:]) + where


def average_pool(a: Attributes, x: np.ndarray) -> np.ndarray:
    kernel, counted = tuple(a["kernel_shape"]), bool(a.get("count_include_pad", 0))
    how = window(a, x.shape[2:], kernel)
    padding = how["padding"]
    if padding != "same" and any(
        max(p) * 2 > k for p, k in zip(padding, kernel, strict=True)
    ):  # more than half a window: what the op itself takes
        y = ops.avg_pool(
            turned(x), kernel=kernel, stride=how["stride"], padding=padding,
            count_include_pad=counted,
        )  # fmt: skip
        return back(y)
    function = getattr(ops, f"avg_pool{x.ndim - 2}d")
    return back(
        function(
            turned(x), kernel, stride=how["stride"], padding=padding, count_include_pad=counted,
            ceil_mode=bool(a.get("ceil_mode", 0)),
        )
    )  # fmt: skip


def batch_norm(
    a: Attributes, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray,
    var: np.ndarray,
) -> Any:  # fmt: skip
    eps, momentum = a.get("epsilon", 1e-5), a.get("momentum", 0.9)
    if not a.get("training_mode", 0):
        layer = nn.BatchNorm(len(scale), eps=eps).initialize(0, dtype=str(x.dtype))
        layer.load_state_dict(
            {"weight": scale, "bias": bias, "running_mean": mean, "running_var": var}
        )
        return back(layer.eval()(turned(x)))
    y, now, spread = ops.batch_norm(turned(x), fs.tensor(scale), fs.tensor(bias), eps=eps)
    kept = [
        old * momentum + new.numpy() * (1 - momentum) for old, new in ((mean, now), (var, spread))
    ]
    return back(y), *kept


def gemm(a: Attributes, left: np.ndarray, right: np.ndarray, c: Any = None) -> np.ndarray:
    one, two = fs.tensor(left), fs.tensor(right)
    product = ops.matmul(one.T if a.get("transA", 0) else one, two.T if a.get("transB", 0) else two)
    y = product * a.get("alpha", 1.0)
    return (y if c is None else y + fs.tensor(c) * a.get("beta", 1.0)).numpy()


def softmax(function: Callable[..., fs.Tensor]) -> Callable[..., np.ndarray]:
    def run(a: Attributes, x: np.ndarray) -> np.ndarray:
        if a["opset"] >= 13:
            return function(fs.tensor(x), axis=a.get("axis", -1)).numpy()
        axis = a.get("axis", 1)  # of old, all axes from this one on were one
        flat = x.reshape(math.prod(x.shape[:axis]), -1)
        return function(fs.tensor(flat), axis=1).numpy().reshape(x.shape)

    return run


def unsqueeze(a: Attributes, x: np.ndarray, axes: Any = None) -> np.ndarray:
    return np.expand_dims(x, tuple(a["axes"] if axes is None else axes))


def squeeze(a: Attributes, x: np.ndarray, axes: Any = None) -> np.ndarray:
    return np.squeeze(x, tuple(a["axes"] if axes is None else axes))


def elementwise(function: Callable[..., fs.Tensor], **words: str) -> Callable[..., np.ndarray]:
    def run(a: Attributes, *xs: np.ndarray) -> np.ndarray:
        how = {ours: a[theirs] for theirs, ours in words.items() if theirs in a}
        return function(*map(fs.tensor, xs), **how).numpy()

    return run


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": elementwise(ops.add),
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Constant": lambda a: onnx.numpy_helper.to_array(a["value"]),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Elu": elementwise(ops.elu, alpha="alpha"),
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: back(ops.global_avg_pool(turned(x), keepdims=True)),
    "GlobalMaxPool": lambda a, x: back(ops.global_max_pool(turned(x), keepdims=True)),
    "LeakyRelu": lambda a, x: ops.leaky_relu(fs.tensor(x), slope=a.get("alpha", 0.01)).numpy(),
    "LogSoftmax": softmax(ops.log_softmax),
    "MatMul": elementwise(ops.matmul),
    "MaxPool": max_pool,
    "Relu": elementwise(ops.relu),
    "Reshape": lambda a, x, shape: x.reshape(shape),
    "Sigmoid": elementwise(ops.sigmoid),
    "Softmax": softmax(ops.softmax),
    "Squeeze": squeeze,
    "Tanh": elementwise(ops.tanh),
    "Transpose": lambda a, x: np.transpose(x, a.get("perm")),
    "Unsqueeze": unsqueeze,
}


class Prepared(base.BackendRep):  # type: ignore[misc]  # onnx is untyped
    """A model that is run one node after another."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        graph = self.model.graph
        values: dict[str, Any] = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        fed = [i.name for i in graph.input if i.name not in values]
        values.update(zip(fed, inputs, strict=True))
        opset = next(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            attributes["opset"] = opset
            arguments = [values[name] if name else None for name in node.input]
            made = OPERATORS[node.op_type](attributes, *arguments)
            made = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.output, made, strict=False))  # optional outputs may be unnamed
        return tuple(values[o.name] for o in graph.output)


class Flagstone(base.Backend):  # type: ignore[misc]  # onnx is untyped
    """ONNX's interface to a runtime."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Prepared:
        return Prepared(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # making its cases, onnx overflows and divides by 0 on purpose
    CASES = test.BackendTest(Flagstone, __name__).test_cases


def cases(patterns: tuple[str, ...]) -> list[Any]:
    """Those of ONNX's cases whose name matches, as pytest's."""
    return [
        pytest.param(case, name, id=name)
        for case in CASES.values()
        for name in sorted(vars(case))
        if any(re.search(p, name) for p in patterns) and name.removesuffix("_cpu") not in LEFT_OUT
    ]


@pytest.mark.parametrize(("case", "name"), cases(NAMED + FURTHER))
def test_onnx(case: Any, name: str) -> None:
    getattr(case(name), name)()


def test_enough_cases_run() -> None:
    assert len(LEFT_OUT) + len(cases(NAMED)) == 104
    assert len(cases(NAMED)) >= 103
    assert len(cases(FURTHER)) >= 40
