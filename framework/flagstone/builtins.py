"""The core's own plugin: its layers, losses, optimizers and other parts by name.

They come in by the hooks that any plugin uses, and have no privilege that a stranger's lack.
"""

from collections.abc import Iterator

from flagstone.plugins import (
    AugmentationSpec,
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
        ("conv1d", "Conv1d", "convolution of signals, channels last"),
        ("conv2d", "Conv2d", "2-d convolution, channels last"),
        ("conv3d", "Conv3d", "convolution of volumes, channels last"),
        ("conv-transpose1d", "ConvTranspose1d", "transposed convolution of signals"),
        ("conv-transpose2d", "ConvTranspose2d", "transposed 2-d convolution"),
        ("conv-transpose3d", "ConvTranspose3d", "transposed convolution of volumes"),
        ("depthwise-conv2d", "DepthwiseConv2d", "2-d convolution of each channel by itself"),
        ("separable-conv2d", "SeparableConv2d", "depthwise, then pointwise convolution"),
        ("max-pool1d", "MaxPool1d", "the maximum of every window of signals"),
        ("max-pool2d", "MaxPool2d", "the maximum of every window"),
        ("max-pool3d", "MaxPool3d", "the maximum of every window of volumes"),
        ("avg-pool1d", "AvgPool1d", "the mean of every window of signals"),
        ("avg-pool2d", "AvgPool2d", "the mean of every window"),
        ("avg-pool3d", "AvgPool3d", "the mean of every window of volumes"),
        ("global-avg-pool", "GlobalAvgPool", "the mean of each channel"),
        ("global-max-pool", "GlobalMaxPool", "the maximum of each channel"),
        ("adaptive-avg-pool1d", "AdaptiveAvgPool1d", "the mean of so many bins of signals"),
        ("adaptive-avg-pool2d", "AdaptiveAvgPool2d", "the mean of so many bins"),
        ("adaptive-avg-pool3d", "AdaptiveAvgPool3d", "the mean of so many bins of volumes"),
        ("adaptive-max-pool1d", "AdaptiveMaxPool1d", "the maximum of so many bins of signals"),
        ("adaptive-max-pool2d", "AdaptiveMaxPool2d", "the maximum of so many bins"),
        ("adaptive-max-pool3d", "AdaptiveMaxPool3d", "the maximum of so many bins of volumes"),
        ("upsample", "Upsample", "images of another size, nearest or linear"),
        ("flatten", "Flatten", "merge all axes but the first"),
        ("dropout", "Dropout", "zero random elements while training"),
        ("batch-norm", "BatchNorm", "normalise each channel by the batch"),
        ("standardize", "Standardize", "subtract a mean and divide by a scale measured once"),
        ("normalize", "Normalize", "subtract a given mean and divide by a given deviation"),
        ("maxout-linear", "Maxout", "the largest of several linear functions"),
        ("sequential", "Sequential", "layers one after another"),
        ("sigmoid", "Sigmoid", "1 / (1 + exp(-x))"),
        ("tanh", "Tanh", "the hyperbolic tangent"),
        ("relu", "ReLU", "max(x, 0)"),
        ("leaky-relu", "LeakyReLU", "x where positive, else a small multiple of it"),
        ("elu", "ELU", "x where positive, else exp(x) - 1"),
        ("softmax", "Softmax", "exp(x) / sum(exp(x))"),
        ("log-softmax", "LogSoftmax", "the logarithm of softmax"),
        ("selu", "SELU", "elu scaled so that mean 0 and variance 1 stay"),
        ("gelu", "GELU", "x times the normal probability below it"),
        ("silu", "SiLU", "x * sigmoid(x)"),
        ("mish", "Mish", "x * tanh(softplus(x))"),
        ("softplus", "Softplus", "log(1 + exp(x))"),
        ("hard-sigmoid", "Hardsigmoid", "x / 6 + 1 / 2 limited to [0, 1]"),
        ("hard-swish", "Hardswish", "x times the hard sigmoid"),
        ("layer-norm", "LayerNorm", "normalise each example over its last axes"),
        ("rms-norm", "RMSNorm", "divide each example by its root mean square"),
        ("group-norm", "GroupNorm", "normalise each group of channels of each example"),
        ("instance-norm", "InstanceNorm", "normalise each channel of each example"),
        ("batch-norm1d", "BatchNorm1d", "batch-norm of tables and signals"),
        ("batch-norm2d", "BatchNorm2d", "batch-norm of images"),
        ("batch-norm3d", "BatchNorm3d", "batch-norm of volumes"),
        ("dropout1d", "Dropout1d", "zero random channels of signals while training"),
        ("dropout2d", "Dropout2d", "zero random channels of images while training"),
        ("dropout3d", "Dropout3d", "zero random channels of volumes while training"),
        ("embedding", "Embedding", "a learned vector for each number"),
        ("identity", "Identity", "the input, as it is"),
        ("residual", "Residual", "the input plus what a layer makes of it"),
        ("add", "Add", "the sum of several layers' outputs"),
        ("concat", "Concat", "several layers' outputs one after another"),
        ("rnn", "RNN", "a state that follows a sequence"),
        ("lstm", "LSTM", "a sequence's state behind gates, with a memory"),
        ("gru", "GRU", "a sequence's state behind two gates"),
        (
            "multihead-attention",
            "MultiheadAttention",
            "averages of values by how keys fit",
        ),
    ):
        yield LayerSpec(name, f"flagstone.nn:{attribute}", summary=summary)


@hookimpl
def flagstone_losses() -> Iterator[LossSpec]:
    for name, attribute, summary in (
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
    ):  # fmt: skip
        yield LossSpec(name, f"flagstone.losses:{attribute}", summary=summary)


@hookimpl
def flagstone_metrics() -> Iterator[MetricSpec]:
    for name, function, summary in (
        ("accuracy", "accuracy", "how often the predicted label is the true one"),
        ("log-loss", "log_loss", "mean negative log-probability of the true label"),
        ("mse", "mse", "mean squared error"),
        ("mae", "mae", "mean absolute error"),
        ("mape", "mape", "mean absolute error as a share of the true value"),
        ("r2", "r2", "coefficient of determination"),
        ("precision", "precision", "of the rows predicted as a class, the share of it; macro mean"),
        ("recall", "recall", "of the rows of a class, the share predicted as it; macro mean"),
        ("f1", "f1", "the harmonic mean of precision and recall; macro mean"),
        ("roc-auc", "roc_auc", "area under the ROC curve"),
        ("top-k-accuracy", "top_k_accuracy", "how often the true label is among the k likeliest"),
        ("confusion-matrix", "confusion_matrix", "counts of true against predicted labels"),
    ):
        yield MetricSpec(name, f"flagstone.metrics:{function}", summary=summary)


@hookimpl
def flagstone_optimizers() -> Iterator[OptimizerSpec]:
    for name, attribute, summary in (
        ("sgd", "SGD", "gradient descent, momentum, Nesterov"),
        ("adam", "Adam", "Kingma & Ba, 2015"),
        ("adamw", "AdamW", "Adam, decoupled weight decay"),
        ("nadam", "NAdam", "Adam with Nesterov's momentum"),
        ("radam", "RAdam", "Adam that starts as momentum only"),
        ("adamax", "Adamax", "Adam over the largest past gradient"),
        ("rmsprop", "RMSprop", "the gradient over its root mean square"),
        ("adagrad", "Adagrad", "the gradient over the root of its sum of squares"),
        ("adadelta", "Adadelta", "steps in units of past steps"),
        ("lion", "Lion", "the sign of a momentum"),
        ("lamb", "LAMB", "Adam in units of each parameter's norm, for large batches"),
        ("muon", "Muon", "momentum made orthogonal for matrices, AdamW for the rest"),
        ("lookahead", "lookahead", "slow weights behind another optimizer (base=...)"),
        ("lbfgs", "LBFGS", "quasi-Newton on all data; in Python, by step(closure)"),
    ):
        yield OptimizerSpec(name, f"flagstone.optim:{attribute}", summary=summary)


@hookimpl
def flagstone_schedules() -> Iterator[ScheduleSpec]:
    for name, attribute, summary in (
        ("constant", "Constant", "the base rate throughout"),
        ("step", "Step", "times gamma every few epochs"),
        ("multi-step", "MultiStep", "times gamma at given epochs"),
        ("exponential", "Exponential", "times gamma every epoch"),
        ("polynomial", "Polynomial", "down as a power of what is left"),
        ("linear", "Linear", "from one factor to another in a straight line"),
        ("piecewise", "Piecewise", "in straight lines from point to point"),
        ("cosine", "Cosine", "down along half a cosine"),
        ("cosine-restarts", "CosineRestarts", "down along half a cosine, again and again"),
        ("one-cycle", "OneCycle", "up, then down to almost nothing"),
        ("triangular", "Triangular", "up and down in straight lines, again and again"),
        ("reduce-on-plateau", "ReduceOnPlateau", "down when the loss no longer falls"),
        ("sequential", "Sequential", "one schedule after another: parts=(...), at=(5,)"),
        ("product", "Product", "several schedules multiplied: parts=(...)"),
    ):
        yield ScheduleSpec(name, f"flagstone.schedules:{attribute}", summary=summary)


@hookimpl
def flagstone_augmentations() -> Iterator[AugmentationSpec]:
    for name, attribute, summary in (
        ("flip", "Flip", "mirror an image with a probability"),
        ("alternating-flip", "AlternatingFlip", "mirror an image in every other epoch"),
        ("crop", "Crop", "pad an image, mirrored by default, and cut its size out again"),
        ("translate", "Translate", "move an image by some pixels; 0 follows"),
        ("cutout", "Cutout", "set a square of an image to 0"),
        ("mixup", "MixUp", "mix examples, and their losses, in pairs"),
        ("cutmix", "CutMix", "paste a box of another image, and mix their losses"),
    ):
        yield AugmentationSpec(name, f"flagstone.augment:{attribute}", summary=summary)
