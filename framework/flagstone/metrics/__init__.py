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
