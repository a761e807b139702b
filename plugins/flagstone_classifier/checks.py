"""With what ``flagstone check`` and the tests train the larger models: small ones of their kind."""

from __future__ import annotations

from types import MappingProxyType

from flagstone.testing import ModelSuite


class ResNetSuite(ModelSuite):
    """Eight layers."""

    params = MappingProxyType({"depth": 8})


class SpeedrunSuite(ModelSuite):
    """A few channels."""

    params = MappingProxyType({"widths": (4, 8, 8)})


class EnsembleSuite(ModelSuite):
    """Two small perceptrons."""

    params = MappingProxyType({"member": "mlp(epochs=2, hidden=(8,))", "members": 2})
