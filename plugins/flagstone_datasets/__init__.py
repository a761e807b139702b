"""The built-in datasets: the lecture's tables, scikit-learn's, and image sets that are downloaded.

This module only names them; a dataset's own module is imported when it is first loaded.
"""

from __future__ import annotations

from collections.abc import Iterator

from flagstone.plugins import DatasetSpec, hookimpl


def _classes(name: str, target: str, summary: str, *requires: str) -> DatasetSpec:
    return DatasetSpec(
        name, f"flagstone_datasets.{target}", summary, requires, task="classification"
    )


def _numbers(name: str, target: str, summary: str, *requires: str) -> DatasetSpec:
    return DatasetSpec(name, f"flagstone_datasets.{target}", summary, requires, task="regression")


@hookimpl
def flagstone_datasets() -> Iterator[DatasetSpec]:
    """Every built-in dataset."""
    yield _numbers("line", "lecture:line", "5 points: the lecture's first line")
    yield _numbers("exam-scores", "lecture:exam_scores", "25 students, 3 exams, final score")
    yield _numbers(
        "exam-scores-two-targets",
        "lecture:exam_scores_two_targets",
        "5 students, 3 exams, final score and mean",
    )
    yield _classes("pass-fail", "lecture:pass_fail", "6 students, 2 features, 2 classes")
    yield _classes("xor", "lecture:xor", "4 rows that no line separates")
    yield _classes("pima", "course:pima", "759 patients, 8 features, 2 classes (FLAGSTONE_DATA)")
    yield _classes("zoo", "course:zoo", "101 animals, 16 features, 7 classes (FLAGSTONE_DATA)")

    sklearn = "sklearn"
    yield _classes("digits", "bundled:digits", "1797 digits of 8 x 8, 10 classes", sklearn)
    yield _classes("iris", "bundled:iris", "150 flowers, 4 features, 3 classes", sklearn)
    yield _classes("wine", "bundled:wine", "178 wines, 13 features, 3 classes", sklearn)
    yield _classes(
        "breast-cancer", "bundled:breast_cancer", "569 tumours, 30 features, 2 classes", sklearn
    )
    yield _numbers(
        "diabetes", "bundled:diabetes", "442 patients, 10 features, progression", sklearn
    )

    yield _classes(
        "mnist", "images:mnist", "70000 digits of 28 x 28, 10 classes; downloaded, 11 MB"
    )
    yield _classes(
        "fashion-mnist",
        "images:fashion_mnist",
        "70000 garments of 28 x 28, 10 classes; downloaded, 30 MB",
    )
    yield _classes(
        "cifar10",
        "images:cifar10",
        "60000 colour images of 32 x 32, 10 classes; downloaded, 170 MB",
    )
