"""The checks of an augmentation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from flagstone import ops
from flagstone.augment import Augmentation, Chain, Crop, Mixing, Mixture
from flagstone.backend import Backend
from flagstone.errors import FlagstoneError
from flagstone.tensors import Tensor
from flagstone.testing.comparing import FLOATS, given, on, require_close, require_same
from flagstone.testing.host_reads import GUARDED, REFERENCE, check_backend, in_step
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.refusals import refuses
from flagstone.testing.suite import Suite

BATCHES = (1, 2, 9)
PLACES = ((0, 0), (3, 1))  # step and epoch


class AugmentationSuite(Suite):
    """The checks of an augmentation: ``target(**params)``.

    Attributes:
        params: its options.
        shape: (h, w, channels) of the images that it is given.
    """

    kind: ClassVar[str] = "augmentation"
    params: Mapping[str, Any] = {}
    shape: tuple[int, ...] = (9, 8, 3)

    def make(self) -> Any:
        """The augmentation."""
        return self.target(**self.params)

    def images(self, n: int, dtype: str = "float32") -> Any:
        """A batch of them."""
        return np.random.default_rng(n).uniform(0.5, 2.0, (n, *self.shape)).astype(dtype)

    def run(
        self, backend: Backend, x: Any, place: tuple[int, int] = PLACES[0], seed: int = 0
    ) -> tuple[Tensor, Mixture | None]:
        """What becomes of ``x`` in that step."""
        chain = Chain([self.make()], seed, backend)
        chain.check(tuple(x.shape[1:]))
        chain.begin(len(x))
        counter, images = on(backend, [np.array(place, np.uint64), x])
        with in_step():
            return chain(images, counter)

    def test_pictures(self) -> None:
        """It gives as many pictures, of the same shape and dtype, finite; its options show."""
        made = self.make()
        if not isinstance(made, Augmentation):
            raise AssertionError(
                f"expected a flagstone.augment.Augmentation; got {type(made).__name__}"
            )
        if " at 0x" in repr(made) or repr(made) != repr(self.make()):
            raise AssertionError(
                f"expected a repr that shows its options, which a checkpoint keeps; got {made!r}"
            )
        for dtype in FLOATS:
            for n in BATCHES:
                x = self.images(n, dtype)
                with given(dtype, x.shape):
                    y, _ = self.run(self.opened, x)
                    if (y.shape, y.dtype_name) != (x.shape, dtype):
                        raise AssertionError(
                            f"expected {dtype} of shape {x.shape}; got {y.dtype_name} of {y.shape}"
                        )
                    if not np.isfinite(y.numpy()).all():
                        raise AssertionError("expected finite pixels; got others")

    def test_shares(self) -> None:
        """One that mixes says of each picture which examples it shows, in shares that make 1."""
        for n in BATCHES:
            _, mixture = self.run(self.opened, self.images(n))
            if not isinstance(self.make(), Mixing):
                continue
            if mixture is None:
                raise AssertionError("expected the pictures' parts; got none")
            total = np.zeros(n)
            for rows, share in mixture.parts:
                total += share.numpy()
                if not (share.numpy() >= 0).all():
                    raise AssertionError(f"expected shares >= 0; got {share.numpy().min()}")
                if rows is not None and not set(rows.numpy().tolist()) <= set(range(n)):
                    raise AssertionError(f"expected rows of the batch; got {rows.numpy()}")
            require_close(total, np.ones(n), 1e-6, "sums of the shares")

    def test_purity(self) -> None:
        """The batch that it is given stays as it is."""
        x = self.images(9)
        (tensor, counter) = on(self.opened, [x, np.zeros(2, np.uint64)])
        chain = Chain([self.make()], 0, self.opened)
        chain.begin(len(x))
        chain(tensor, counter)
        require_same(tensor.numpy(), x, "the batch afterwards")

    def test_determinism(self) -> None:
        """Seed, epoch and step say what happens; nothing is drawn from global generators."""
        x = self.images(9)
        for place in PLACES:
            found = []
            for seed in SEEDS:
                with global_seed(seed):
                    found.append(self.run(self.opened, x, place)[0].numpy())
            require_same(found[1], found[0], "the second time")

    def test_example_independence(self) -> None:
        """What happens to an example depends on its place in the batch, not on the others; of one
        that mixes, nothing is asked here."""
        if isinstance(self.make(), Mixing):
            return
        x = self.images(9)
        whole = self.run(self.opened, x)[0].numpy()
        require_same(self.run(self.opened, x[:4])[0].numpy(), whole[:4], "of a smaller batch")
        other = x.copy()
        other[1:] = self.images(10)[1:9]
        require_same(self.run(self.opened, other)[0].numpy()[0], whole[0], "beside other images")

    def test_parity(self) -> None:
        """The pictures are bit for bit those of NumPy without kernels."""
        with check_backend(REFERENCE) as reference:
            for dtype in FLOATS:
                for place in PLACES:
                    x = self.images(9, dtype)
                    found, mixture = self.run(self.opened, x, place)
                    expected, theirs = self.run(reference, x, place)
                    with given(dtype, f"step {place[0]}"):
                        require_same(found.numpy(), expected.numpy(), "pictures")
                        for one, two in zip(_shares(mixture), _shares(theirs), strict=True):
                            require_same(one, two, "shares")

    def test_places(self) -> None:
        """If it says where pixels are read, the pictures are those, after another move too."""
        backend, x = self.opened, self.images(9)
        chain = Chain([Crop(1), self.make()], 0, backend)
        if not chain.moves:
            return
        chain.begin(len(x))
        for place in PLACES:
            counter, images = on(backend, [np.array(place, np.uint64), x])
            made, _ = chain(images, counter)
            read = [
                on(backend, [np.tile(np.arange(length), (len(x), 1))])[0] if p is None else p
                for p, length in zip(chain.places(x.shape, counter), x.shape[1:3], strict=True)
            ]
            require_same(ops.pick_pixels(images, *read).numpy(), made.numpy(), "pixels of places")

    def test_capture_safe(self) -> None:
        """It reads no value on the host, so that a device can record and replay the step."""
        with check_backend(GUARDED) as backend:
            self.run(backend, self.images(9))

    def test_error_messages(self) -> None:
        """Bad options are refused with an error of flagstone's, in one line."""
        for name in inspect.signature(self.target).parameters:
            bad = {**self.params, name: object()}
            refuses(f"{name}=object()", lambda b=bad: self.target(**b), FlagstoneError, name)  # type: ignore[misc]  # mypy cannot infer a lambda's default


def _shares(mixture: Mixture | None) -> list[Any]:
    return [] if mixture is None else [share.numpy() for _, share in mixture.parts]
