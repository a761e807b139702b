"""Mixed precision with PyTorch's own float16 and bfloat16."""

from __future__ import annotations

from typing import Any

import flagstone as fs
import numpy as np
import pytest
import torch
from flagstone.backend import open_backend
from flagstone.data import load
from flagstone.errors import ConfigurationError

LOW = {"mixed-fp16": torch.float16, "mixed-bf16": torch.bfloat16}


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_training_is_nearly_that_of_float32(model: str, precision: str) -> None:
    digits = load("digits")
    found = []
    for chosen in ("exact", precision):
        made: Any = fs.model(model, device="torch", precision=chosen, epochs=1, batch_size=8)
        made.fit(digits.X[:24], digits.y[:24])
        found.append([epoch["train"]["loss"] for epoch in made.history_])
    np.testing.assert_allclose(found[1], found[0], rtol=0.02)
    layer = made.layer_
    assert (layer.flat.values.array.dtype, layer.flat.low.array.dtype) == (
        torch.float32, LOW[precision],
    )  # fmt: skip
    assert np.isfinite(made.predict_proba(digits.X[:5])).all()


@pytest.mark.parametrize("precision", LOW)
def test_ops_have_the_dtypes_of_pytorchs_autocast(precision: str) -> None:
    here = open_backend("torch", precision)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 8)).astype("float32")
    w = rng.standard_normal((8, 8)).astype("float32")
    ours, weight = fs.tensor(x, device=here), fs.tensor(w, device=here)
    with torch.autocast("cpu", dtype=LOW[precision]):
        a, b = torch.from_numpy(x), torch.from_numpy(w)
        product = torch.nn.functional.linear(a, b)
        expected = [product, torch.relu(product), product + a, product + product]
        losses = torch.nn.functional.mse_loss(product, a)
    y = fs.ops.linear(ours, weight)
    for got, wanted in zip([y, fs.ops.relu(y), y + ours, y + y], expected, strict=True):
        assert got.array.dtype == wanted.dtype
        torch.testing.assert_close(got.array, wanted)
    ours_loss = fs.losses.mse(y, ours)
    assert ours_loss.array.dtype == losses.dtype == torch.float32
    torch.testing.assert_close(ours_loss.array, losses, rtol=1e-2, atol=1e-2)
    for wide in (fs.ops.exp(y), fs.ops.softmax(y, axis=1), y.sum(), fs.ops.layer_norm(y, 8)):
        assert wide.array.dtype == torch.float32


def test_tf32_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="got 'tf32': it is PyTorch's own switch"):
        open_backend("torch", "tf32")
