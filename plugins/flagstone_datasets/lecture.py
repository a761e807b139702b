"""The small tables of the lecture notes and of the course's labs, written out."""

from __future__ import annotations

import numpy as np

from flagstone.data import Dataset

EXAMS = ("exam1", "exam2", "exam3")

# three exams and the final score of 25 students (the course's data-01-test-score)
EXAM_SCORES = (
    (73, 80, 75, 152),
    (93, 88, 93, 185),
    (89, 91, 90, 180),
    (96, 98, 100, 196),
    (73, 66, 70, 142),
    (53, 46, 55, 101),
    (69, 74, 77, 149),
    (47, 56, 60, 115),
    (87, 79, 90, 175),
    (79, 70, 88, 164),
    (69, 70, 73, 141),
    (70, 65, 74, 141),
    (93, 95, 91, 184),
    (79, 80, 73, 152),
    (70, 73, 78, 148),
    (93, 89, 96, 192),
    (78, 75, 68, 147),
    (81, 90, 93, 183),
    (88, 92, 86, 177),
    (78, 83, 77, 159),
    (82, 86, 90, 177),
    (86, 82, 89, 175),
    (78, 83, 85, 175),
    (76, 83, 71, 149),
    (96, 93, 95, 192),
)


def line() -> Dataset:
    """x = 1 ... 5 and y = 3, 1, 2, 5, 4, whose least-squares line is y = 0.6 x + 1.2."""
    X = np.arange(1.0, 6.0).reshape(5, 1)  # (5, 1)
    y = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    return Dataset("line", "regression", X, y, ("x",), ("y",))


def exam_scores() -> Dataset:
    """Three exam scores and the final score of 25 students."""
    table = np.array(EXAM_SCORES, dtype=np.float64)  # (25, 4)
    X, y = np.ascontiguousarray(table[:, :3]), table[:, 3].copy()
    return Dataset("exam-scores", "regression", X, y, EXAMS, ("final",))


def exam_scores_two_targets() -> Dataset:
    """The first five students of ``exam-scores`` with two targets: the final score, and the mean
    of the three exams (which a linear model can fit exactly)."""
    table = np.array(EXAM_SCORES[:5], dtype=np.float64)  # (5, 4)
    X = np.ascontiguousarray(table[:, :3])
    y = np.stack([table[:, 3], X.mean(axis=1)], axis=1)  # (5, 2)
    return Dataset("exam-scores-two-targets", "regression", X, y, EXAMS, ("final", "mean"))


def pass_fail() -> Dataset:
    """Six students, hours studied and lectures attended, and whether they passed (1) or not."""
    X = np.array([[1, 2], [2, 3], [3, 1], [4, 3], [5, 3], [6, 2]], dtype=np.float64)  # (6, 2)
    y = np.array([0, 0, 0, 1, 1, 1])
    return Dataset("pass-fail", "classification", X, y, ("hours", "lectures"), ("passed",))


def xor() -> Dataset:
    """The exclusive or of two bits, which no linear model separates."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)  # (4, 2)
    y = np.array([0, 1, 1, 0])
    return Dataset("xor", "classification", X, y, ("a", "b"), ("a xor b",))
