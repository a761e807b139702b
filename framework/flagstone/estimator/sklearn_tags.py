"""What scikit-learn asks of an estimator; imported only when scikit-learn asks."""

from __future__ import annotations

from typing import Any

from sklearn.utils import (
    ClassifierTags,
    InputTags,
    RegressorTags,
    Tags,
    TargetTags,
    TransformerTags,
)


def tags_of(model: Any) -> Tags:
    """The tags of a flagstone estimator."""
    if model.task in ("clustering", "transform"):
        return Tags(
            estimator_type="clusterer" if model.task == "clustering" else "transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64"]),
            classifier_tags=None,
            regressor_tags=None,
            input_tags=InputTags(two_d_array=True),
        )
    classifies = model.task == "classification"
    tags = Tags(
        estimator_type="classifier" if classifies else "regressor",
        target_tags=TargetTags(required=True, multi_output=not classifies),
        transformer_tags=None,
        classifier_tags=None,
        regressor_tags=None,
        input_tags=InputTags(two_d_array=True, three_d_array=model.takes_images_only),
    )
    if classifies:
        tags.classifier_tags = ClassifierTags(multi_class=not model.binary_only)
    else:
        tags.regressor_tags = RegressorTags()
    return tags
