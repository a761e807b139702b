"""What callbacks change of the objective and the augmentations."""

from __future__ import annotations

from typing import Any

import pytest

from flagstone.augment import Augmentation
from flagstone.training import Callback


@pytest.mark.parametrize("batch_size", [16, None])
@pytest.mark.parametrize("of", ["objective", "augmentation"])
def test_what_a_callback_changes_of_loss_and_augmentation_holds_from_the_next_epoch_on(
    make_data: Any, make_trainer: Any, batch_size: int | None, of: str
) -> None:
    """Captured steps do as plain ones do."""

    class Change(Callback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            if epoch == 4 and of == "objective":
                trainer.objective.label_smoothing = 0.3
            elif epoch == 4:
                trainer.augment.parts[0].amount = 0.7

    class Plain(Callback):
        def on_train_begin(self, trainer: Any) -> None:
            trainer._step = trainer._train_step

    class Louder(Augmentation):
        def __init__(self) -> None:
            self.amount = 0.1

        def check(self, shape: tuple[int, ...]) -> None: ...

        def images(self, x: Any, words: Any) -> Any:
            return x * (1.0 + self.amount)

    told = []
    for callbacks in ([Change()], [Change(), Plain()], []):
        trainer = make_trainer(
            epochs=8, batch_size=batch_size, callbacks=callbacks, augment=[Louder()]
        )
        told.append([row["train"] for row in trainer.fit(*make_data(48))])
    assert told[0] == told[1]
    assert told[0][:4] == told[2][:4]
    assert told[0][5:] != told[2][5:]
