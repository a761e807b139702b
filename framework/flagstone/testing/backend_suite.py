"""The checks of a backend."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from flagstone import losses, nn
from flagstone.backend import Backend, MemoryInfo, open_backend
from flagstone.optim import Adam
from flagstone.plugins import registry
from flagstone.tape import no_grad
from flagstone.tensors import Tensor
from flagstone.testing.comparing import given, on, require_close, require_same
from flagstone.testing.host_reads import REFERENCE, check_backend
from flagstone.testing.op_checks import (
    check_gradients,
    check_layouts,
    check_refusals,
    check_values,
)
from flagstone.testing.op_row import OpRow
from flagstone.testing.op_table import OP_TABLE
from flagstone.testing.suite import Suite, skip

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "uint64", "bool")
RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((60, 5))
CLASSES = (TABLE[:, 0] + TABLE[:, 1] > 0).astype(int) + (TABLE[:, 2] > 1)
IMAGES = RNG.uniform(0, 1, (24, 8, 8)) + np.eye(8) * (np.arange(24) % 3)[:, None, None]
MOMENTUM = {"batch_size": 16, "optimizer": "sgd(momentum=0.9)"}
TRAINED: Mapping[str, tuple[str, Any, Any, dict[str, Any], float]] = {
    "a perceptron": ("mlp", TABLE, CLASSES, {"batch_size": 16}, 1e-4),
    "with momentum": ("mlp", TABLE, CLASSES, MOMENTUM, 1e-4),
    "a convolutional network": ("cnn", IMAGES, np.arange(24) % 3, {"batch_size": 8}, 2e-3),
    "a regression in float64": ("linear", TABLE, TABLE @ np.arange(5.0) + 1, {"epochs": 5}, 1e-9),
}  # fmt: skip


class BackendSuite(Suite):
    """The checks of a backend: every op of the table, and that models train on it as on NumPy.

    Attributes:
        device: one of its devices; its first kind of device by default.
    """

    kind: ClassVar[str] = "backend"
    device: str = ""

    @property
    def opened(self) -> Backend:
        return open_backend(self.device or registry.find("backend", self.name).devices[0])

    @classmethod
    def cases(cls, argument: str) -> Mapping[str, Any]:
        """The rows of the op table, and what is trained."""
        return {"row": OP_TABLE, "trained": TRAINED}[argument]

    def test_contract(self) -> None:
        """It says what it is, gives its arrays back as they came, and opens once per device."""
        backend = self.opened
        if backend.name != self.name:
            raise AssertionError(
                f"name: expected {self.name!r}, as in its spec; got {backend.name!r}"
            )
        if open_backend(str(backend.device)) is not backend:
            raise AssertionError(
                f"device: expected a name that opens this backend; got {str(backend.device)!r}"
            )
        if not isinstance(backend.describe(), str) or not backend.describe():
            raise AssertionError(f"describe(): expected text; got {backend.describe()!r}")
        if not isinstance(backend.memory(), MemoryInfo):
            raise AssertionError(
                f"memory(): expected a MemoryInfo; got {type(backend.memory()).__name__}"
            )
        backend.synchronize()
        if copy.deepcopy(backend) is not backend:
            raise AssertionError("expected a copy to be the same backend; got another one")

    def test_probe(self) -> None:
        """The probe agrees with what can be opened, and says what is there or missing."""
        probe = registry.find("backend", self.name).run_probe()
        if not probe.ok:
            if not probe.reason:
                raise AssertionError("probe: expected a reason for not working; got none")
            skip(probe.reason)
        open_backend(self.name)

    def test_arrays(self) -> None:
        """NumPy arrays of every dtype and layout come back as they went."""
        backend = self.opened
        for dtype in DTYPES:
            for shape in ((), (0,), (3, 0), (4,), (2, 3, 4)):
                a = (np.arange(int(np.prod(shape))).reshape(shape) % 2).astype(dtype)
                with given(f"{dtype} of shape {shape}"):
                    for laid in (a, *((np.asfortranarray(a), a[::-1]) if a.ndim else ())):
                        (x,) = on(backend, [laid])
                        if (x.dtype_name, x.shape) != (dtype, shape):
                            raise AssertionError(
                                f"expected {dtype} of shape {shape}; got {x.dtype_name} of shape "
                                f"{x.shape}"
                            )
                        require_same(np.array(x.numpy()), laid, "what came back")
        cast = backend.to_numpy(backend.asarray([1, 2, 3], "float32"))
        require_same(np.array(cast), np.array([1, 2, 3], "float32"), "asarray(list, 'float32')")

    def test_op_values(self, row: OpRow) -> None:
        """Every op gives the op table's values, shapes and dtypes."""
        for dtype in row.dtypes:
            check_values(row, self.opened, dtype)

    def test_op_layouts(self, row: OpRow) -> None:
        """Every op takes arrays with gaps, in other orders of axes, and stored backwards."""
        for dtype in row.dtypes:
            check_layouts(row, self.opened, dtype)

    def test_op_gradients(self, row: OpRow) -> None:
        """Every op's gradients are those of central differences, to the second order."""
        check_gradients(row, self.opened)

    def test_op_refusals(self, row: OpRow) -> None:
        """Every op refuses what it cannot take, in one line."""
        check_refusals(row, self.opened)

    def test_random_bits(self) -> None:
        """Weights and dropout masks are those of every other backend."""
        layer = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5))
        for_all = [
            np.array(x.numpy())
            for backend in (open_backend("cpu"), self.opened)
            for layer_there in [layer.initialize(3, device=str(backend.device))]
            for x in [*layer_there.parameters(), *_masks(backend)]
        ]
        half = len(for_all) // 2
        for one, other in zip(for_all[half:], for_all[:half], strict=True):
            require_same(one, other, f"on {self.opened.device}")

    def test_trains(self, trained: tuple[str, Any, Any, dict[str, Any], float]) -> None:
        """Models train to the losses that NumPy without kernels gives."""
        name, X, y, params, tolerance = trained
        if name not in registry.names("model"):
            skip(f"the model {name!r} is not installed")
        params = {"epochs": 3, **params}
        with check_backend(REFERENCE):
            make = registry.load("model", name)
            expected = make(device=REFERENCE, **params).fit(X, y)
            found = make(device=str(self.opened.device), **params).fit(X, y)
            if found.device_ != str(self.opened.device):
                raise AssertionError(f"expected to train there; got {found.device_}")
            ours, theirs = ([e["train"]["loss"] for e in m.history_] for m in (found, expected))
            require_close(ours, theirs, tolerance, "the losses of the epochs")
            if not isinstance(found.predict(X), np.ndarray):
                raise AssertionError("predict: expected a NumPy array; got another type")

    def test_determinism(self) -> None:
        """Equal runs give equal bits."""
        found = [self._few_steps(captured=False) for _ in range(2)]
        for name, value in found[0].items():
            require_same(found[1][name], value, f"{name} after a second run")

    def test_capture(self) -> None:
        """A captured step does what the step does."""
        plain, captured = (self._few_steps(captured) for captured in (False, True))
        for name, value in plain.items():
            require_close(captured[name], value, 1e-6, f"{name} after captured steps")

    def _few_steps(self, captured: bool) -> dict[str, Any]:
        backend = self.opened
        layer = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
        layer.initialize(1, device=str(backend.device))
        optimizer = Adam(layer, 0.01)
        x, y = on(backend, [TABLE[:16].astype("float32"), CLASSES[:16]])

        def step(x: Any, y: Any) -> None:
            optimizer.zero_grad()
            losses.cross_entropy(layer(x), y).backward()
            optimizer.step()

        run = backend.capture(step, x, y) if captured else step
        for _ in range(5):
            run(x, y)
        backend.synchronize()
        return layer.state_dict()


def _masks(backend: Backend) -> list[Any]:
    """What dropout leaves of ones."""
    layer = nn.Dropout(0.5).initialize(3, device=str(backend.device))
    ones = Tensor(backend.asarray(np.ones((7, 9), np.float32)), backend)
    place = Tensor(backend.asarray(np.array([4, 2], np.uint64)), backend)
    with no_grad(), nn.stream_position(place):
        return [layer(ones)]
