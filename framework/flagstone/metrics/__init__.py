"""How good predictions are: scikit-learn's definitions and argument order, on host arrays.

Every function takes array-likes ``(y_true, y_pred)``, true values first, and ``sample_weight``,
``(n,)`` weights that are finite, not negative and not all zero; None weighs every row alike. All
raise ShapeError when lengths differ, and InputError when there are no rows or a value cannot be
compared. Labels may be of any one type: text, integers, booleans, floats.
"""

from flagstone.metrics.labels import accuracy, confusion_matrix, f1, precision, recall
from flagstone.metrics.regression import mae, mape, mse, r2
from flagstone.metrics.scores import log_loss, roc_auc, top_k_accuracy

__all__ = [
    "accuracy",
    "confusion_matrix",
    "f1",
    "log_loss",
    "mae",
    "mape",
    "mse",
    "precision",
    "r2",
    "recall",
    "roc_auc",
    "top_k_accuracy",
]

REGISTERED = (
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
)
"""What the core registers of these: the name in text, the attribute, a line about it."""
