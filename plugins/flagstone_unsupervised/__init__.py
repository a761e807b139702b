"""Models without targets: ``kmeans`` and ``pca``."""

from collections.abc import Iterator

from flagstone.plugins import ModelSpec, hookimpl

STARTS = (
    "starts are drawn among rows by their numbers, so a row of weight 2 and a row given twice give "
    "other starts"
)


@hookimpl
def flagstone_models() -> Iterator[ModelSpec]:
    yield ModelSpec(
        "kmeans",
        "flagstone_unsupervised.kmeans:KMeans",
        task="clustering",
        summary="k-means: Lloyd's iterations from k-means++ starts",
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": STARTS},
    )
    yield ModelSpec(
        "pca",
        "flagstone_unsupervised.pca:PCA",
        task="transform",
        summary="principal components, with whitening",
    )
