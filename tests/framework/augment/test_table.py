"""Every registered augmentation against a reference that goes example by example, in Python, from
NumPy's own random bits, on every backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from flagstone import augment
from flagstone.backend import Backend
from flagstone.plugins import AugmentationSpec, registry
from flagstone.tensors import Tensor

SEED, STEP, EPOCH = 7, 5, 2
Words = list[list[int]]


def below(word: int, high: int) -> int:
    return (word >> 32) * high >> 32


def mirrored(x: np.ndarray, words: Words, p: float = 0.5, axis: int = 1) -> Any:
    out = x.copy()
    for i, (word,) in enumerate(words):
        if below(word, 65536) < round(p * 65536):
            out[i] = np.flip(x[i], axis - 1)
    return out, None, None


def in_turn(x: np.ndarray, words: Words, axis: int) -> Any:
    """An even epoch: those whose word has its highest bit."""
    out = x.copy()
    for i, (word,) in enumerate(words):
        if (word >= 2**63) != (EPOCH % 2 == 1):
            out[i] = np.flip(x[i], axis - 1)
    return out, None, None


def moved(x: np.ndarray, words: Words, most: int, mode: str) -> Any:
    """Pad, then cut out: what the papers say."""
    out = np.empty_like(x)
    h, w = x.shape[1:3]
    for i, (first, second) in enumerate(words):
        padded = np.pad(x[i], ((most, most), (most, most), (0, 0)), mode=mode)  # type: ignore[call-overload]
        top, left = below(first, 2 * most + 1), below(second, 2 * most + 1)
        out[i] = padded[top : top + h, left : left + w]
    return out, None, None


def blanked(x: np.ndarray, words: Words, size: int, p: float = 1.0) -> Any:
    out = x.copy()
    h, w = x.shape[1:3]
    for i, (first, second, third) in enumerate(words):
        if below(third, 65536) < round(p * 65536):
            top, left = below(first, h) - size // 2, below(second, w) - size // 2
            out[i, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0.0
    return out, None, None


def beta_shares(alpha: float) -> np.ndarray:
    stats = pytest.importorskip("scipy.stats", reason="SciPy, the reference, is not installed")
    exact = stats.beta.ppf((np.arange(4096) + 0.5) / 4096, alpha, alpha)
    return np.rint(exact * 65536) / 65536


def pairs(x: np.ndarray, words: Words, alpha: float, p: float) -> Iterator[tuple[int, float]]:
    """Partner and share of each example."""
    n, shares = len(x), beta_shares(alpha)
    distance = 1 + below(words[0][0], n - 1) if n > 1 else 0
    for i, own in enumerate(words):
        mixed = below(own[2], 65536) < round(p * 65536)
        yield (i + distance) % n, float(shares[below(own[1], 4096)]) if mixed else 1.0


def mixed_up(x: np.ndarray, words: Words, alpha: float = 0.2, p: float = 1.0) -> Any:
    drawn = list(pairs(x, words, alpha, p))
    out = np.array([x[i] * s + x[k] * (1 - s) for i, (k, s) in enumerate(drawn)])
    return out, [k for k, _ in drawn], [s for _, s in drawn]


def pasted(x: np.ndarray, words: Words, alpha: float = 1.0, p: float = 1.0) -> Any:
    out, partners, shares = x.copy(), [], []
    h, w = x.shape[1:3]
    for i, (partner, share) in enumerate(pairs(x, words, alpha, p)):
        side = np.sqrt(np.float32(1 - share))
        height, width = int(side * np.float32(h)), int(side * np.float32(w))
        top = below(words[i][3], h) - height // 2
        left = below(words[i][4], w) - width // 2
        box = np.zeros((h, w), bool)
        box[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
        out[i][box] = x[partner][box]
        partners.append(partner)
        shares.append(1 - box.sum() / (h * w))
    return out, partners, shares


TABLE: dict[str, list[tuple[str, Callable[[np.ndarray, Words], Any]]]] = {
    "flip": [
        ("flip", lambda x, w: mirrored(x, w, axis=2)),
        ("flip(p=0.2)", lambda x, w: mirrored(x, w, 0.2, axis=2)),
        ("flip(p=1, direction='vertical')", lambda x, w: mirrored(x, w, 1.0, axis=1)),
    ],
    "alternating-flip": [
        ("alternating-flip", lambda x, w: in_turn(x, w, axis=2)),
        ("alternating-flip(direction='vertical')", lambda x, w: in_turn(x, w, axis=1)),
    ],
    "crop": [
        ("crop(padding=3)", lambda x, w: moved(x, w, 3, "reflect")),
        ("crop(padding=2, mode='edge')", lambda x, w: moved(x, w, 2, "edge")),
        ("crop(mode='zero')", lambda x, w: moved(x, w, 4, "constant")),
        ("crop(padding=0)", lambda x, w: moved(x, w, 0, "constant")),
    ],
    "translate": [
        ("translate", lambda x, w: moved(x, w, 2, "constant")),
        ("translate(pixels=4)", lambda x, w: moved(x, w, 4, "constant")),
    ],
    "cutout": [
        ("cutout(size=3)", lambda x, w: blanked(x, w, 3)),
        ("cutout(size=4, p=0.5)", lambda x, w: blanked(x, w, 4, 0.5)),
        ("cutout", lambda x, w: blanked(x, w, 8)),
    ],
    "mixup": [
        ("mixup", mixed_up),
        ("mixup(alpha=1)", lambda x, w: mixed_up(x, w, 1.0)),
        ("mixup(alpha=2.5, p=0.5)", lambda x, w: mixed_up(x, w, 2.5, 0.5)),
    ],
    "cutmix": [
        ("cutmix", pasted),
        ("cutmix(alpha=0.3, p=0.7)", lambda x, w: pasted(x, w, 0.3, 0.7)),
    ],
}
CASES = [(text, reference) for cases in TABLE.values() for text, reference in cases]


def missing() -> set[str]:
    return set(registry.names("augmentation")) - set(TABLE)


def images(n: int, h: int = 6, w: int = 5, channels: int = 3) -> np.ndarray:
    shape = (n, h, w, channels)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) + 3.0


def words_of(part: augment.Augmentation, n: int, number: int = 0) -> Words:
    """Each example's words, from NumPy's generator."""
    from flagstone import random

    blocks = math.ceil(part.words / 4)
    when = (0, 0) if isinstance(part, augment.Planned) else (STEP, EPOCH)
    philox = np.random.Philox(
        key=random.key(SEED, "augment", str(number)),
        counter=np.array([0, *when, 0], np.uint64),
    )
    table = philox.random_raw(4 * blocks * n).reshape(n, 4 * blocks)
    return [[int(word) for word in row[: part.words]] for row in table]


def run(parts: Any, x: np.ndarray, backend: Backend) -> Any:
    counter = Tensor(backend.asarray(np.array([STEP, EPOCH], np.uint64)), backend)
    chain = augment.Chain(parts, SEED, backend)
    chain.begin(len(x))
    return chain(Tensor(backend.asarray(x), backend), counter)


@pytest.mark.parametrize("n", [1, 2, 37])
@pytest.mark.parametrize(("text", "reference"), CASES, ids=[text for text, _ in CASES])
def test_values(text: str, reference: Any, n: int, backend: Backend) -> None:
    (part,) = augment.parse(text)
    x = images(n)
    expected, partners, shares = reference(x, words_of(part, n))
    y, mixture = run([part], x, backend)
    assert (y.shape, y.dtype_name) == (x.shape, "float32")
    if partners is None:
        np.testing.assert_array_equal(y.numpy(), expected)
        assert mixture is None
        return
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)
    (own_rows, own), (other_rows, rest) = mixture.parts
    assert own_rows is None
    np.testing.assert_array_equal(other_rows.numpy(), partners)
    np.testing.assert_allclose(own.numpy(), shares, atol=1e-6)
    np.testing.assert_allclose(own.numpy() + rest.numpy(), 1.0, atol=1e-6)


@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_bits_are_the_same_on_every_backend(text: str, backend: Backend, strict: Backend) -> None:
    x = images(9)
    for dtype in ("float32", "float64"):
        y, mixture = run(augment.parse(text), x.astype(dtype), backend)
        theirs, their_mixture = run(augment.parse(text), x.astype(dtype), strict)
        assert y.dtype_name == dtype
        np.testing.assert_array_equal(y.numpy(), theirs.numpy())
        for (_, share), (_, other) in zip(
            mixture.parts if mixture else [], their_mixture.parts if mixture else [], strict=True
        ):
            assert share.dtype_name == dtype
            np.testing.assert_array_equal(share.numpy(), other.numpy())


@pytest.mark.parametrize("text", [text for text, _ in CASES if not text.startswith(("mi", "cutm"))])
def test_an_example_depends_on_its_place_alone(text: str, backend: Backend) -> None:
    x = images(8)
    whole, _ = run(augment.parse(text), x, backend)
    part, _ = run(augment.parse(text), x[:3], backend)
    np.testing.assert_array_equal(part.numpy(), whole.numpy()[:3])


def test_every_registered_augmentation_has_a_row() -> None:
    assert missing() == set()
    classes = {registry.load("augmentation", name) for name in TABLE}
    assert len(classes) == len(TABLE)


def test_one_without_a_row_is_found(planted: Any) -> None:
    with planted(AugmentationSpec("planted", "flagstone.augment:Flip")):
        assert missing() == {"planted"}
        assert augment.parse("planted(p=1)") == [augment.Flip(p=1)]


def test_a_chain_is_one_after_another_each_with_its_own_words(backend: Backend) -> None:
    x = images(20)
    parts = augment.parse(" flip , crop(padding=2, mode='edge'),flip(direction='vertical')")
    y, _ = run(parts, x, backend)
    expected = x
    for number, (part, step) in enumerate(
        zip(
            parts,
            (
                lambda a, w: mirrored(a, w, axis=2),
                lambda a, w: moved(a, w, 2, "edge"),
                lambda a, w: mirrored(a, w, axis=1),
            ),
            strict=True,
        )
    ):
        expected = step(expected, words_of(part, 20, number))[0]
    np.testing.assert_array_equal(y.numpy(), expected)
    twice, _ = run(augment.parse("flip,flip"), x, backend)
    assert not np.array_equal(twice.numpy(), x)  # equal words would undo each other
