"""Batch normalisation folded into the weights before it: the same answers, fewer passes."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import InputError


def trained(layer, shape, seed=0):
    """The layer with running statistics that are not those it starts with."""
    rng = np.random.default_rng(seed)
    layer.initialize(seed, dtype="float64")
    for name, b in layer.named_buffers():
        low = 0.5 if name.endswith("var") else -1.0
        fs.ops.assign(b, fs.tensor(rng.uniform(low, 2.0, b.shape)))
    for p in layer.parameters():
        fs.ops.assign(p.detach(), fs.tensor(rng.standard_normal(p.shape)))
    return layer.eval(), fs.tensor(rng.standard_normal(shape))


def kinds(layer):
    return [type(part).__name__ for _, part in layer.named_layers()]


MADE = {
    "convolution": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False),
                                          nn.BatchNorm2d(5), nn.ReLU()), (4, 7, 7, 3)),
    "with a bias": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4, eps=0.1)),
                    (2, 9, 3)),
    "groups": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm(8)), (2, 6, 6, 4)),
    "linear": (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(),
                                     nn.Linear(5, 2)), (3, 6)),
    "residual": (lambda: nn.Sequential(nn.Residual(nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))), (2, 5, 5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_the_answers_stay_and_the_normalisations_go(name):
    make, shape = MADE[name]
    layer, x = trained(make(), shape)
    before = layer.state_dict()
    folded = nn.fold_batch_norm(layer)
    assert not any(kind.startswith("BatchNorm") for kind in kinds(folded))
    np.testing.assert_allclose(folded(x).numpy(), layer(x).numpy(), rtol=1e-12, atol=1e-12)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_weights_are_those_of_pytorchs_fusion():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer, _ = trained(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), (1, 5, 5, 3))
    conv, norm = torch.nn.Conv2d(3, 5, 3).double(), torch.nn.BatchNorm2d(5).double().eval()
    state = {k: torch.from_numpy(v) for k, v in layer.state_dict().items()}
    conv.load_state_dict({"weight": state["0.weight"], "bias": state["0.bias"]})
    norm.load_state_dict({k[2:]: v for k, v in state.items() if k.startswith("1.")}, strict=False)
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm)
    ours = nn.fold_batch_norm(layer).state_dict()
    np.testing.assert_allclose(ours["0.weight"], fused.weight.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours["0.bias"], fused.bias.detach().numpy(), rtol=1e-12)


def test_what_has_nothing_before_it_or_is_used_twice_stays():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    layer, x = trained(
        nn.Sequential(nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3), nn.ReLU(), shared,
                      nn.MaxPool2d(2), nn.BatchNorm2d(3)),
        (2, 6, 6, 3),
    )  # fmt: skip
    folded = nn.fold_batch_norm(layer)
    assert kinds(folded).count("BatchNorm2d") == 3
    np.testing.assert_allclose(folded(x).numpy(), layer(x).numpy(), rtol=1e-12)


def test_the_fold_is_a_copy_that_predicts():
    layer, x = trained(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3)), (4, 2))
    folded = nn.fold_batch_norm(layer.train())
    assert layer.training
    assert not folded.training
    assert folded.dtype_name == "float64"
    again = copy.deepcopy(folded)
    np.testing.assert_array_equal(again(x).numpy(), folded(x).numpy())


def test_what_is_no_layer_or_has_no_values_is_refused():
    with pytest.raises(InputError, match=r"expected a Layer.*got BatchNorm"):
        nn.fold_batch_norm(nn.BatchNorm(3))
    with pytest.raises(InputError, match="got int"):
        nn.fold_batch_norm(3)
    with pytest.raises(InputError, match="fold_batch_norm: the layer has no values yet"):
        nn.fold_batch_norm(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3)))
