"""The mean loss and measures of a layer, without training it."""

from __future__ import annotations

from collections.abc import Mapping

from flagstone.backend import Backend
from flagstone.capturing import capture
from flagstone.nn import Layer
from flagstone.tape import no_grad
from flagstone.tensors import Tensor, host
from flagstone.training.device_data import DeviceData
from flagstone.training.objective import Objective

BATCH = 1000  # examples; without gradients a batch costs memory only


class Evaluation:
    """How well ``layer`` does by ``objective``. Penalties on the layer, such as an L2 norm, are no
    part of it: it tells what is made of the data, as a model's ``evaluate`` does.

    Attributes:
        step: what it does with a batch, captured.
    """

    def __init__(self, layer: Layer, objective: Objective, backend: Backend) -> None:
        self.layer, self.objective = layer, objective
        self.step = capture(self._sums_of, device=backend)

    def __call__(self, data: DeviceData) -> dict[str, float]:
        """The mean loss and measures over ``data``."""
        sums: dict[str, Tensor] = {}
        was_training = self.layer.training
        self.layer.eval()
        with no_grad():
            for start in range(0, data.n, BATCH):
                batch = data.slice(start, min(start + BATCH, data.n))
                for name, part in self.step(*batch).items():
                    sums[name] = part + sums[name] if name in sums else part
        self.layer.train(was_training)
        return {name: value / data.total_weight for name, value in read(sums).items()}

    def _sums_of(self, x: Tensor, y: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
        """The sums of loss and measures over one batch."""
        out = self.layer(x)
        values = {"loss": self.objective.losses(out, y), **self.objective.measures(out, y)}
        return {
            name: (value if weight is None else value * weight).sum()
            for name, value in values.items()
        }


def read(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """The values of tensors of shape (), brought to the host by one read."""
    if not sums:
        return {}
    first = next(iter(sums.values()))
    if first.backend.is_immediate and host.watcher is None:
        return {name: float(t.array) for name, t in sums.items()}
    together = first.backend.xp.stack([t.array for t in sums.values()])
    values = Tensor(together, first.backend).numpy()
    return {name: float(value) for name, value in zip(sums, values, strict=True)}
