"""Classification models: linear ones, ``mlp``, networks for images, and ensembles of these."""

from collections.abc import Iterator

from flagstone.plugins import ModelSpec, hookimpl

MINI_BATCHES = (
    "mini-batches are cut by row number, so a row of weight 2 and a row given twice fall into "
    "different batches"
)


@hookimpl
def flagstone_models() -> Iterator[ModelSpec]:
    yield ModelSpec(
        "logistic",
        "flagstone_classifier.logistic:LogisticRegression",
        task="classification",
        summary="logistic regression for two classes, with a decision threshold",
    )
    yield ModelSpec(
        "softmax",
        "flagstone_classifier.softmax:SoftmaxRegression",
        task="classification",
        summary="softmax regression: one linear layer and cross-entropy",
    )
    yield ModelSpec(
        "mlp",
        "flagstone_classifier.mlp:MLPClassifier",
        task="classification",
        summary="a multi-layer perceptron",
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": MINI_BATCHES},
    )
    yield ModelSpec(
        "cnn",
        "flagstone_classifier.cnn:CNN",
        task="classification",
        summary="convolutions of 32, 64 and 128 channels with pooling and dropout, for images",
    )
    yield ModelSpec(
        "lenet",
        "flagstone_classifier.lenet:LeNet",
        task="classification",
        summary="LeNet-5, for images",
    )
    yield ModelSpec(
        "resnet",
        "flagstone_classifier.resnet:ResNet",
        task="classification",
        summary="the residual network of CIFAR-10, of 20, 32, 56, ... layers, for images",
        suite="flagstone_classifier.checks:ResNetSuite",
    )
    yield ModelSpec(
        "speedrun",
        "flagstone_classifier.speedrun:Speedrun",
        task="classification",
        summary="the network that learns CIFAR-10 in the least time, with its recipe, for images",
        suite="flagstone_classifier.checks:SpeedrunSuite",
    )
    yield ModelSpec(
        "ensemble",
        "flagstone_classifier.ensemble:Ensemble",
        task="classification",
        summary="several of any classifier, their probabilities averaged",
        suite="flagstone_classifier.checks:EnsembleSuite",
    )
