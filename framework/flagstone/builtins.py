"""The core's own plugin: its layers, losses, metrics, optimizers and schedules by name.

They come in by the hooks that any plugin uses, and have no privilege that a stranger's lack.
"""

from collections.abc import Iterator

from flagstone.plugins import (
    LayerSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    ScheduleSpec,
    hookimpl,
)


@hookimpl
def flagstone_layers() -> Iterator[LayerSpec]:
    for name, attribute, summary in (
        ("linear", "Linear", "x @ weight.T + bias"),
        ("conv2d", "Conv2d", "2-d convolution, channels last"),
        ("max-pool2d", "MaxPool2d", "the maximum of every window"),
        ("avg-pool2d", "AvgPool2d", "the mean of every window"),
        ("flatten", "Flatten", "merge all axes but the first"),
        ("dropout", "Dropout", "zero random elements while training"),
        ("batch-norm", "BatchNorm", "normalise each channel by the batch"),
        ("standardize", "Standardize", "subtract a mean and divide by a scale measured once"),
        ("maxout-linear", "Maxout", "the largest of several linear functions"),
        ("sequential", "Sequential", "layers one after another"),
        ("sigmoid", "Sigmoid", "1 / (1 + exp(-x))"),
        ("tanh", "Tanh", "the hyperbolic tangent"),
        ("relu", "ReLU", "max(x, 0)"),
        ("leaky-relu", "LeakyReLU", "x where positive, else a small multiple of it"),
        ("elu", "ELU", "x where positive, else exp(x) - 1"),
        ("softmax", "Softmax", "exp(x) / sum(exp(x))"),
    ):
        yield LayerSpec(name, f"flagstone.nn:{attribute}", summary=summary)


@hookimpl
def flagstone_losses() -> Iterator[LossSpec]:
    yield LossSpec("mse", "flagstone.losses:MSELoss", summary="mean squared error")
    yield LossSpec(
        "binary-cross-entropy",
        "flagstone.losses:BCEWithLogitsLoss",
        summary="logistic loss from logits",
    )
    yield LossSpec(
        "cross-entropy",
        "flagstone.losses:CrossEntropyLoss",
        summary="softmax cross-entropy from logits and class numbers",
    )


@hookimpl
def flagstone_metrics() -> Iterator[MetricSpec]:
    for name, function, summary in (
        ("accuracy", "accuracy", "how often the predicted label is the true one"),
        ("log-loss", "log_loss", "mean negative log-probability of the true label"),
        ("mse", "mse", "mean squared error"),
        ("mae", "mae", "mean absolute error"),
        ("r2", "r2", "coefficient of determination"),
        ("confusion-matrix", "confusion_matrix", "counts of true against predicted labels"),
    ):
        yield MetricSpec(name, f"flagstone.metrics:{function}", summary=summary)


@hookimpl
def flagstone_optimizers() -> Iterator[OptimizerSpec]:
    yield OptimizerSpec(
        "sgd", "flagstone.optim:SGD", summary="gradient descent, momentum, Nesterov"
    )
    yield OptimizerSpec("adam", "flagstone.optim:Adam", summary="Kingma & Ba, 2015")
    yield OptimizerSpec("adamw", "flagstone.optim:AdamW", summary="Adam, decoupled weight decay")


@hookimpl
def flagstone_schedules() -> Iterator[ScheduleSpec]:
    for name, attribute, summary in (
        ("constant", "Constant", "the base rate throughout"),
        ("step", "Step", "times gamma every few epochs"),
        ("cosine", "Cosine", "down along half a cosine"),
        ("one-cycle", "OneCycle", "up, then down to almost nothing"),
    ):
        yield ScheduleSpec(name, f"flagstone.schedules:{attribute}", summary=summary)
