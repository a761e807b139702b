"""Losses: ``fs.losses``. Each is a function, and a class of PyTorch's name that holds its options.

The first axis of ``x`` is of examples. An example's loss is one number: the mean over its outputs
where it has several (the sum in :func:`kl_div`, whose example is one distribution).
``sample_weight`` (n,), of x's dtype, multiplies it. ``reduction`` is then ``"none"`` (n,),
``"sum"`` () or ``"mean"`` (): the sum over the number of examples, whatever the sample weights, so
weights that average 1 keep the loss's size. PyTorch's ``"mean"`` is the same without sample
weights; its ``"none"`` and ``"sum"`` differ for several outputs, which it does not average first.

Targets are of x's shape and dtype, class numbers (n,) are integers; nothing broadcasts. A value is
never looked at on the host, so a target that means nothing (a class number out of range) gives NaN
in its example and no error.

What losses of your own are written with is :mod:`flagstone.losses.reduction`.

All raise ``DTypeError`` for what is no tensor or of another dtype, ``ShapeError`` for another
shape, ``InputError`` for an option's value, ``DeviceMismatchError`` for two devices.
"""

from flagstone.losses.binary import (
    BCEWithLogitsLoss,
    BinaryFocalLoss,
    HingeLoss,
    SquaredHingeLoss,
    binary_cross_entropy_with_logits,
    binary_focal,
    hinge,
    squared_hinge,
)  # fmt: skip
from flagstone.losses.classification import (
    CrossEntropyLoss,
    FocalLoss,
    KLDivLoss,
    MultiMarginLoss,
    cross_entropy,
    focal,
    kl_div,
    multi_margin,
)  # fmt: skip
from flagstone.losses.options import Configured, Loss
from flagstone.losses.ranking import (
    CosineEmbeddingLoss,
    CosineSimilarityLoss,
    TripletMarginLoss,
    cosine_embedding,
    cosine_similarity,
    triplet_margin,
)  # fmt: skip
from flagstone.losses.regression import (
    HuberLoss,
    L1Loss,
    LogCoshLoss,
    MSELoss,
    PoissonNLLLoss,
    QuantileLoss,
    SmoothL1Loss,
    huber,
    log_cosh,
    mae,
    mse,
    poisson_nll,
    quantile,
    smooth_l1,
)  # fmt: skip

__all__ = [
    "BCEWithLogitsLoss", "BinaryFocalLoss", "Configured", "CosineEmbeddingLoss",
    "CosineSimilarityLoss", "CrossEntropyLoss", "FocalLoss", "HingeLoss", "HuberLoss", "KLDivLoss",
    "L1Loss", "LogCoshLoss", "Loss", "MSELoss", "MultiMarginLoss", "PoissonNLLLoss",
    "QuantileLoss", "SmoothL1Loss", "SquaredHingeLoss", "TripletMarginLoss",
    "binary_cross_entropy_with_logits", "binary_focal", "cosine_embedding", "cosine_similarity",
    "cross_entropy", "focal", "hinge", "huber", "kl_div", "log_cosh", "mae", "mse", "multi_margin",
    "poisson_nll", "quantile", "smooth_l1", "squared_hinge", "triplet_margin",
]  # fmt: skip

REGISTERED = (
    ("mse", "MSELoss", "mean squared error"),
    ("mae", "L1Loss", "mean absolute error"),
    ("huber", "HuberLoss", "squared error near 0, absolute error beyond delta"),
    ("smooth-l1", "SmoothL1Loss", "Huber's loss with slope 1 beyond beta"),
    ("log-cosh", "LogCoshLoss", "log(cosh(error)), smooth everywhere"),
    ("quantile", "QuantileLoss", "the pinball loss of the q-quantile"),
    ("poisson-nll", "PoissonNLLLoss", "negative log-likelihood of counts"),
    ("binary-cross-entropy", "BCEWithLogitsLoss", "logistic loss from logits"),
    ("binary-focal", "BinaryFocalLoss", "focal loss from logits of two classes"),
    ("hinge", "HingeLoss", "max(0, margin - target * x), targets -1 and 1"),
    ("squared-hinge", "SquaredHingeLoss", "the hinge squared"),
    (
        "cross-entropy", "CrossEntropyLoss",
        "softmax cross-entropy from logits and class numbers or probabilities",
    ),
    ("focal", "FocalLoss", "softmax cross-entropy that counts easy examples less"),
    ("multi-margin", "MultiMarginLoss", "hinge of several classes"),
    ("kl-divergence", "KLDivLoss", "how far log-probabilities are from a distribution"),
    ("cosine-similarity", "CosineSimilarityLoss", "1 - the cosine of prediction and target"),
    ("cosine-embedding", "CosineEmbeddingLoss", "pairs: near if alike, apart if not"),
    ("triplet-margin", "TripletMarginLoss", "nearer to the positive than to the negative"),
)  # fmt: skip
"""What the core registers of these: the name in text, the attribute, a line about it."""
