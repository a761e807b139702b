"""What TensorBoard shows, written by a callback of flagstone."""

from __future__ import annotations

import typing

from flagstone.plugins import CallbackSpec, hookimpl


@hookimpl
def flagstone_callbacks(run: typing.Any) -> list[CallbackSpec]:
    """Asked once per run; ``run.path`` is its directory."""
    return [
        CallbackSpec(
            "tensorboard",
            "flagstone_tensorboard.callback:TensorBoard",
            summary="scalars for TensorBoard, one per measure and epoch",
        ),
    ]
