"""What training minimises and what it reports, one value per example."""

from __future__ import annotations

from collections.abc import Callable

from flagstone import losses, ops
from flagstone.augment import Mixture
from flagstone.losses.reduction import per_example
from flagstone.nn.layer import Layer
from flagstone.tensors import Tensor


class Objective:
    """A loss per example, further measures per example, and a penalty on the layer.

    The trainer sums all of them over an epoch on the device and divides once.

    Attributes:
        curvature: at most how much a loss's derivative by one output changes per unit of it;
            ``None`` where there is no bound, or none is known.
        ridge: the second derivative of the penalty by each weight.
        takes_floats: whether targets are numbers of the layer's dtype, whatever they came as.
    """

    curvature: float | None = None
    ridge: float = 0.0
    takes_floats = False

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        """The loss of each example: (n, ...), (n, ...) -> (n,)."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    def total(self, out: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """The sum of the losses, times the examples' weights (n,) if there are any: shape ()."""
        each = self.losses(out, y)
        total: Tensor = ops.sum(each if weight is None else each * weight)
        return total

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Name -> a value for each example (n,); their means are reported beside the loss."""
        return {}

    def slopes(self, out: Tensor, y: Tensor) -> Tensor | None:
        """The derivative of each example's loss by its outputs, (n, outputs) as these are, where
        that takes less than the tape does; ``None`` leaves it to the tape."""
        return None

    def total_and_slopes(self, out: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """The sum of the losses, shape (), and :meth:`slopes`, where that takes less than each by
        itself; ``None`` leaves it to those."""
        return None

    def curvatures(self, out: Tensor, y: Tensor) -> Tensor | None:
        """The second derivative of each example's loss by its one output, (n, 1) -> (n, 1);
        ``None`` where it is the same everywhere or not known."""
        return None

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "losses" in vars(cls):  # another loss: what bases say of theirs does not hold
            for name in ("slopes", "total_and_slopes", "curvatures"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Objective, name))

    def penalty(self, layer: Layer) -> Tensor | None:
        """What is added to the mean loss, shape (), such as an L2 norm."""
        return None


class CrossEntropy(Objective):
    """Softmax cross-entropy and accuracy; ``y`` holds class numbers (n,).

    Args:
        label_smoothing: as in :func:`flagstone.losses.cross_entropy`.
    """

    curvature = 0.5  # of diag(p) - p p': Böhning, "Multinomial logistic regression", 1992

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return losses.cross_entropy(out, y, label_smoothing=self.label_smoothing, reduction="none")

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        right = ops.equal(ops.argmax(out, axis=1), y)
        return {"accuracy": ops.astype(right, dtype=out.dtype_name)}


class BinaryCrossEntropy(Objective):
    """Logistic loss and accuracy; ``out`` is (n, 1), ``y`` holds 0 or 1 (n,).

    Args:
        margin: the logit above which 1 is predicted.
    """

    curvature = 0.25  # p (1 - p)
    takes_floats = True

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return self._reduced(out, y, "none")

    def total(self, out: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        if weight is not None or type(self).losses is not BinaryCrossEntropy.losses:
            return super().total(out, y, weight)
        return self._reduced(out, y, "sum")

    def _reduced(self, out: Tensor, y: Tensor, reduction: str) -> Tensor:
        target = ops.astype(ops.reshape(y, out.shape), dtype=out.dtype_name)
        return losses.binary_cross_entropy_with_logits(out, target, reduction=reduction)

    def slopes(self, out: Tensor, y: Tensor) -> Tensor:
        return ops.sigmoid(out) - ops.astype(ops.reshape(y, out.shape), dtype=out.dtype_name)

    def total_and_slopes(self, out: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        target = ops.astype(ops.reshape(y, out.shape), dtype=out.dtype_name)
        total, slopes = ops.logistic_error(out, target, factor=1.0)
        return total, slopes

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        positive = ops.astype(ops.reshape(out, y.shape) > self.margin, dtype=y.dtype_name)
        return {"accuracy": ops.astype(ops.equal(positive, y), dtype=out.dtype_name)}

    def curvatures(self, out: Tensor, y: Tensor) -> Tensor:
        p = ops.sigmoid(out)
        return p * (1.0 - p)


class SquaredError(Objective):
    """Squared error of standardised targets; mean squared and absolute error in their own units.

    Args:
        scale: what targets were divided by, one per output, as a tensor (t,).
    """

    def __init__(self, scale: Tensor) -> None:
        self.scale = scale
        self.curvature = 2.0 / scale.size  # a loss is the mean over targets

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return losses.mse(out, y, reduction="none")

    def total(self, out: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        if weight is not None or type(self).losses is not SquaredError.losses:
            return super().total(out, y, weight)
        return losses.mse(out, y, reduction="sum")

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        error = (out - y) * self.scale
        each = {"mse": error * error, "mae": ops.abs(error)}
        return {name: per_example(name, values) for name, values in each.items()}


class L2(Objective):
    """Another objective with ``strength * sum(weight**2)`` over all weights, biases left out."""

    def __init__(self, base: Objective, strength: float) -> None:
        self.base, self.strength = base, strength
        self.curvature, self.ridge = base.curvature, base.ridge + 2.0 * strength
        self.takes_floats = base.takes_floats

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return self.base.losses(out, y)

    def total(self, out: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        return self.base.total(out, y, weight)

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        return self.base.measures(out, y)

    def slopes(self, out: Tensor, y: Tensor) -> Tensor | None:
        return self.base.slopes(out, y)

    def total_and_slopes(self, out: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        return self.base.total_and_slopes(out, y)

    def curvatures(self, out: Tensor, y: Tensor) -> Tensor | None:
        return self.base.curvatures(out, y)

    def penalty(self, layer: Layer) -> Tensor | None:
        total = None
        for name, p in layer.named_parameters():
            if name.rpartition(".")[2] == "weight":
                term = ops.sum(p * p)
                total = term if total is None else total + term
        return None if total is None else total * self.strength


class Mixed(Objective):
    """Another objective for pictures that were mixed: what it says of each one's parts, in the
    parts' shares.

    For a loss that is linear in the target's probabilities, as cross-entropy is, this is the loss
    of the mixed probabilities (Zhang et al., "mixup", ICLR 2018); it needs no such target.

    Args:
        base: the objective of each part.
        mixture: which examples the batch's pictures are made of.
        weight: (n,) of the examples before they were mixed, or ``None``. An epoch's weights add up
            to what they did, but for chance: every example is as often a part as the next.
    """

    def __init__(self, base: Objective, mixture: Mixture, weight: Tensor | None = None) -> None:
        self.base, self.mixture, self.weight = base, mixture, weight

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return self._mixed(lambda target: {"loss": self.base.losses(out, target)}, y)["loss"]

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        return self._mixed(lambda target: self.base.measures(out, target), y)

    def penalty(self, layer: Layer) -> Tensor | None:
        return self.base.penalty(layer)

    def _mixed(
        self, values_of: Callable[[Tensor], dict[str, Tensor]], y: Tensor
    ) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for rows, share in self.mixture.parts:
            target = y if rows is None else ops.take(y, rows)
            if self.weight is not None:
                share = share * (self.weight if rows is None else ops.take(self.weight, rows))
            for name, values in values_of(target).items():
                total[name] = values * share + total[name] if name in total else values * share
        return total
