"""The checks of a layer."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from flagstone.backend import Backend
from flagstone.nn import Layer, stream_position
from flagstone.tape import Node, no_grad
from flagstone.tensors import Tensor
from flagstone.testing.comparing import (
    FLOATS,
    given,
    on,
    only_dtype,
    require_close,
    require_same,
)
from flagstone.testing.host_reads import GUARDED, REFERENCE, check_backend, in_step
from flagstone.testing.layer_samples import LayerSample, guessed, raw_refusals
from flagstone.testing.layer_table import LAYER_SAMPLES
from flagstone.testing.leaf_gradients import all_outputs, check_leaf_gradients, floating_outputs
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.refusals import accepts_or_refuses
from flagstone.testing.suite import Suite

PARITY = {"float32": 2e-4, "float64": 1e-9}


class LayerSuite(Suite):
    """The checks of a layer.

    Attributes:
        samples: what to check; by default what suits a layer whose arguments are sizes.
        smooth: ``False`` for a layer whose gradient is not its function's on purpose.
        independent: ``False`` for a layer that compares the examples of a batch with each other
            when it predicts, too.
    """

    kind: ClassVar[str] = "layer"
    samples: Sequence[LayerSample] = ()
    smooth: bool = True
    independent: bool = True

    def chosen(self) -> Sequence[LayerSample]:
        """The samples to check."""
        return self.samples or LAYER_SAMPLES.get(self.name) or guessed(self.target)

    def test_gradients(self) -> None:
        """The gradients of inputs and parameters are those of central differences in float64."""
        if not self.smooth:
            return
        for sample, mode in ((s, mode) for s in self.chosen() for mode in (True, False)):
            with given(sample, "training" if mode else "predicting"):
                backend = self.opened
                layer = sample.layer(backend).train(mode)
                inputs = sample.tensors(backend)
                leaves = {f"input {i}": x for i, x in enumerate(inputs) if x.requires_grad}
                leaves.update((n, p) for n, p in layer.named_parameters() if p.requires_grad)
                check_leaf_gradients(functools.partial(call, layer, inputs), leaves)

    def test_dtypes(self) -> None:
        """Every floating result and gradient has the dtype of the input; nothing is widened."""
        for sample, dtype in ((s, dtype) for s in self.chosen() for dtype in FLOATS):
            with given(sample, dtype), only_dtype(dtype):
                layer = sample.layer(self.opened, dtype)
                inputs = sample.tensors(self.opened, dtype)
                outputs = floating_outputs(call(layer, inputs))
                for y in outputs:
                    if y.dtype_name != dtype:
                        raise AssertionError(f"output: expected {dtype}; got {y.dtype_name}")
                backpropagate(outputs)

    def test_shapes(self) -> None:
        """The first output has one entry for each example, of the same shape in every batch."""
        for sample in self.chosen():
            with given(sample):
                layer = sample.layer(self.opened, "float32").eval()
                found = []
                for n in (sample.shapes[0][0], 1, 2):
                    inputs = [repeated(x, n) for x in sample.arrays("float32")]
                    y = first_output(call(layer, on(self.opened, inputs)))
                    if y.shape[:1] != (n,):
                        raise AssertionError(f"expected ({n}, ...) for {n} examples; got {y.shape}")
                    found.append(y.shape)
                if len({shape[1:] for shape in found}) > 1:
                    raise AssertionError(
                        f"expected one shape per example in every batch; got {found}"
                    )
                if sample.output is not None and found[0] != tuple(sample.output):
                    raise AssertionError(f"expected output {sample.output}; got {found[0]}")

    def test_parity(self) -> None:
        """float32 and float64, and the device and NumPy without kernels, give the same values."""
        for sample in self.chosen():
            with given(sample), check_backend(REFERENCE) as reference:
                expected = self._values(sample, reference, "float64")
                for backend, dtype in (
                    (reference, "float32"), (self.opened, "float32"), (self.opened, "float64"),
                ):  # fmt: skip
                    found = self._values(sample, backend, dtype)
                    for one, other in zip(found, expected, strict=True):
                        require_close(one, other, PARITY[dtype], f"{dtype} on {backend.device}")

    def _values(self, sample: LayerSample, backend: Backend, dtype: str) -> list[Any]:
        layer = sample.layer(backend, dtype).eval()
        layer.load_state_dict(sample.layer(backend, "float32").state_dict())
        arrays = sample.arrays("float32")
        inputs = on(backend, [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays])
        with no_grad():
            return [y.numpy().astype(np.float64) for y in floating_outputs(call(layer, inputs))]

    def test_batch_independence(self) -> None:
        """When predicting, an example's output does not depend on the others in its batch."""
        if not self.independent:
            return
        for sample in self.chosen():
            with given(sample):
                layer = sample.layer(self.opened).eval()
                arrays = sample.arrays()
                whole = first_output(call(layer, on(self.opened, arrays))).numpy()
                for i in range(len(arrays[0])):
                    alone = [a[i : i + 1] for a in arrays]
                    found = first_output(call(layer, on(self.opened, alone))).numpy()
                    require_close(found, whole[i : i + 1], 1e-7, f"example {i} predicted alone")

    def test_determinism(self) -> None:
        """One seed gives one result; nothing is drawn from global random generators."""
        for sample in self.chosen():
            with given(sample):
                found = []
                for seed in SEEDS:
                    with global_seed(seed):
                        layer = sample.layer(self.opened, "float32", seed=3)
                        outputs = all_outputs(call(layer, sample.tensors(self.opened, "float32")))
                        found.append([*layer.state_dict().values(), *(y.numpy() for y in outputs)])
                for one, other in zip(*found, strict=True):
                    require_same(other, one, "a second layer of the same seed")

    def test_save_and_load(self) -> None:
        """``state_dict`` holds everything that training changed and that predictions need."""
        for sample in self.chosen():
            with given(sample):
                trained = sample.layer(self.opened, "float32", seed=1)
                for seed in range(3):
                    call(trained, sample.tensors(self.opened, "float32", seed=seed))
                other = sample.layer(self.opened, "float32", seed=2)
                other.load_state_dict(trained.state_dict())
                inputs = sample.tensors(self.opened, "float32")
                expected = all_outputs(call(trained.eval(), inputs))
                for copied, how in ((other, "loaded"), (copy.deepcopy(trained), "copied")):
                    found = all_outputs(call(copied.eval(), inputs))
                    for one, right in zip(found, expected, strict=True):
                        require_same(one.numpy(), right.numpy(), f"the {how} layer's output")

    def test_parameters(self) -> None:
        """Everything that gradients reach is a parameter that the layer knows."""
        for sample in self.chosen():
            with given(sample):
                layer = sample.layer(self.opened)
                inputs = sample.tensors(self.opened)
                known = {id(x) for x in [*inputs, *layer.parameters()]}
                for leaf in leaves_below(floating_outputs(call(layer, inputs))):
                    if id(leaf) not in known:
                        raise AssertionError(
                            "expected every tensor that is trained to be a Parameter set as an "
                            f"attribute of its layer; got another one, {_attribute(layer, leaf)}"
                        )

    def test_purity(self) -> None:
        """Inputs stay as they are, and predicting leaves the layer's values as they are."""
        for sample in self.chosen():
            with given(sample):
                inputs, given_arrays = sample.tensors(self.opened), sample.arrays()
                layer = sample.layer(self.opened)
                call(layer, sample.tensors(self.opened, seed=1))
                before = layer.eval().state_dict()
                first = all_outputs(call(layer, inputs))
                again = all_outputs(call(layer, inputs))
                for x, a in zip(inputs, given_arrays, strict=True):
                    require_same(x.numpy(), a, "the input after a call")
                for name, value in layer.state_dict().items():
                    require_same(value, before[name], f"{name} after predicting")
                for one, other in zip(again, first, strict=True):
                    require_same(one.numpy(), other.numpy(), "the output of a second prediction")

    def test_capture_safe(self) -> None:
        """A training step reads no value on the host, so that a device can record and replay it."""
        for sample in self.chosen():
            with given(sample), check_backend(GUARDED) as backend:
                layer = sample.layer(backend, "float32")
                inputs = sample.tensors(backend, "float32")
                place = Tensor(backend.asarray(np.zeros(2, np.uint64)), backend)
                with in_step(), stream_position(place):
                    backpropagate(floating_outputs(layer(*inputs)))

    def test_error_messages(self) -> None:
        """What it cannot take is refused with an error of flagstone's, in one line."""
        for sample in self.chosen():
            layer = sample.layer(self.opened, "float32")
            first, *rest = sample.arrays("float32")
            for what, bad in bad_inputs(first):
                inputs = on(self.opened, [bad, *rest])
                with given(sample):
                    accepts_or_refuses(what, functools.partial(call, layer, inputs))
        if not self.samples and self.name not in LAYER_SAMPLES:
            for sample, error in raw_refusals(self.target):
                raise AssertionError(
                    f"given {sample}: expected an error of flagstone's, such as ShapeError, that "
                    f"says what shape was expected; got {type(error).__name__}: {error}"
                )


def call(layer: Layer, inputs: Sequence[Any]) -> Any:
    """The layer's result at the start of the random stream, so the same at every call."""
    first = next((x for x in inputs if isinstance(x, Tensor)), None)
    if first is None:
        return layer(*inputs)
    place = Tensor(first.backend.asarray(np.zeros(2, np.uint64)), first.backend)
    with stream_position(place):
        return layer(*inputs)


def repeated(a: Any, n: int) -> Any:
    """The first n examples, over again where there are fewer."""
    return np.resize(a, (n, *a.shape[1:]))


def first_output(result: Any) -> Tensor:
    """The first tensor of a result."""
    found = all_outputs(result)
    if not found:
        raise AssertionError(f"expected forward to return a Tensor; got {type(result).__name__}")
    return found[0]


def backpropagate(outputs: Sequence[Tensor]) -> None:
    """Differentiate the sum of the outputs, as far as they can be differentiated."""
    total = None
    for y in outputs:
        if y.requires_grad:
            total = y.sum() if total is None else total + y.sum()
    if total is not None:
        total.backward()


def leaves_below(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Every leaf that a gradient of the outputs reaches."""
    leaves: dict[int, Tensor] = {}
    seen: set[Node] = set()
    stack = [y.node for y in outputs if y.node is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for edge in node.edges:
            if isinstance(edge, Tensor):
                leaves[id(edge)] = edge
            elif edge is not None:
                stack.append(edge[0])
    return list(leaves.values())


def bad_inputs(a: Any) -> Iterator[tuple[str, Any]]:
    """Inputs like ``a`` that are wrong, or might be."""
    wider = np.concatenate([a, a[..., :1]], axis=-1)
    yield f"an input of shape {wider.shape}", wider
    yield f"an input of shape {a[..., 0].shape}", a[..., 0]
    yield f"an input of shape {a[None].shape}", a[None]
    yield f"no examples, shape {a[:0].shape}", a[:0]
    other = a.astype("int64" if a.dtype.kind == "f" else "float32")
    yield f"an input of {other.dtype}", other


def _attribute(layer: Layer, leaf: Tensor) -> str:
    for path, part in layer.named_layers():
        for name, value in vars(part).items():
            if value is leaf:
                return f"the attribute {path + '.' if path else ''}{name} of shape {leaf.shape}"
    return f"of shape {leaf.shape}"
