"""A gated network for tables, as a plugin of flagstone."""

from collections.abc import Iterator

from flagstone.plugins import LayerSpec, ModelSpec, hookimpl


@hookimpl
def flagstone_models() -> Iterator[ModelSpec]:
    yield ModelSpec(
        "gated",
        "flagstone_gated.model:Gated",
        task="classification",
        summary="gated blocks beside short cuts, for tables",
        expected_failed_checks={
            "check_sample_weight_equivalence_on_dense_data": "mini-batches are cut by row number",
        },
    )


@hookimpl
def flagstone_layers() -> Iterator[LayerSpec]:
    yield LayerSpec(
        "gated-block",
        "flagstone_gated.block:GatedBlock",
        summary="the input plus a gated linear function of its normalised self",
    )
