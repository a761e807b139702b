"""A run that stops and goes on ends bit for bit where one that never stopped does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flagstone.errors import RunError
from flagstone.training import Callback
from flagstone.training.files import read_arrays, write_arrays

OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adamw, one-cycle": {"optimizer": "adamw(weight_decay=0.1)", "schedule": "one-cycle"},
    "sgd, cosine with warm-up": {"optimizer": "sgd", "schedule": "cosine(warmup=5)"},
    "momentum, clipped, steps": {
        "optimizer": "sgd(momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=0.5)",
        "schedule": "step(every=1, gamma=0.5)",
    },
    "radam behind slow weights, on plateaus": {
        "optimizer": "lookahead(base='radam', k=3)",
        "schedule": "reduce-on-plateau(patience=0, threshold=0.2, warmup=3)",
    },
    "patience": {"optimizer": "adam", "patience": 2, "lr": 0.1},
    "patience, full batch": {"optimizer": "adam", "patience": 3, "batch_size": None},
}


class KeepStates(Callback):
    """The state after every epoch."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        self.states[epoch] = trainer.state()


class Interrupt(Callback):
    """Press Ctrl-C, in effect, after so many steps; keep the state that the trainer then gives."""

    def __init__(self, at_step: int) -> None:
        self.left, self.state = at_step, None

    def on_train_begin(self, trainer: Any) -> None:
        inner = trainer._step

        def step(*arguments: Any) -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            inner(*arguments)

        trainer._step = step

    def on_interrupt(self, trainer: Any) -> None:
        assert self.state is None, "told twice"
        self.state = trainer.state()


def through_a_file(state: Any, path: Path) -> Any:
    """As the command line keeps it: safetensors and JSON."""
    write_arrays(path, state[0], state[1])
    return read_arrays(path)


def order_of(history: Any) -> list[list[str]]:
    """The names in every row, in order, with those of its measures."""
    return [[*row, *row["train"]] for row in history]


def assert_same_run(one: Any, other: Any, timeless: Callable[..., Any]) -> None:
    """Parameters, buffers and histories are equal; optimizer states too."""
    for (name, a), b in zip(
        one.layer.state_dict().items(), other.layer.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=name)
    for (name, a), b in zip(
        one.optimizer.state_dict().items(), other.optimizer.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert timeless(one.history) == timeless(other.history)
    assert order_of(one.history) == order_of(other.history)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_epochs_state_goes_on_bit_for_bit(
    name: str, make_trainer: Any, make_data: Any, timeless: Any, tmp_path: Path
) -> None:
    x, y = make_data()
    held_out = make_data(20)
    keep = KeepStates()
    whole = make_trainer(epochs=6, callbacks=[keep], **OPTIONS[name])
    whole.fit(x, y, validation=held_out)
    for stopped in (1, 3):
        resumed = make_trainer(epochs=6, **OPTIONS[name])
        state = through_a_file(keep.states[stopped], tmp_path / "state.safetensors")
        resumed.fit(x, y, validation=held_out, resume_from=state)
        assert_same_run(whole, resumed, timeless)


@pytest.mark.parametrize("optimizer", ["adam", "sgd(momentum=0.9)"])
def test_n_epochs_and_n_more_are_2n(
    optimizer: str, make_trainer: Any, make_data: Any, timeless: Any
) -> None:
    x, y = make_data()
    whole = make_trainer(epochs=6, optimizer=optimizer)
    whole.fit(x, y)
    half = make_trainer(epochs=3, optimizer=optimizer)
    half.fit(x, y)
    resumed = make_trainer(epochs=6, optimizer=optimizer)
    resumed.fit(x, y, resume_from=half.state())
    assert len(half.history) == 3
    assert_same_run(whole, resumed, timeless)


def test_what_a_callback_stopped_goes_on(make_trainer: Any, make_data: Any, timeless: Any) -> None:
    class Stop(Callback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            trainer.stop = epoch == 2

    x, y = make_data()
    stopped = make_trainer(callbacks=[Stop()])
    stopped.fit(x, y)
    assert stopped.epoch == 2
    whole, resumed = make_trainer(), make_trainer()
    whole.fit(x, y)
    resumed.fit(x, y, resume_from=stopped.state())
    assert_same_run(whole, resumed, timeless)


def test_what_patience_stopped_stays_stopped(make_trainer: Any, make_data: Any) -> None:
    x, y = make_data()
    keep = KeepStates()
    options = {"epochs": 50, "patience": 2, "lr": 0.3}
    whole = make_trainer(callbacks=[keep], **options)
    whole.fit(x, y, validation=make_data(20))
    assert 2 < whole.epoch < 50
    resumed = make_trainer(**options)
    resumed.fit(x, y, validation=make_data(20), resume_from=keep.states[whole.epoch])
    assert resumed.epoch == whole.epoch
    for name, value in whole.layer.state_dict().items():  # and both went back to the best
        np.testing.assert_array_equal(value, resumed.layer.state_dict()[name])


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("at_step", [1, 6, 8])
def test_an_interrupted_epoch_goes_on_bit_for_bit(
    name: str, at_step: int, make_trainer: Any, make_data: Any, timeless: Any, tmp_path: Path
) -> None:
    """Four steps an epoch: in its middle, and in its last step."""
    x, y = make_data()
    held_out = make_data(20)
    whole = make_trainer(epochs=10, **OPTIONS[name])
    whole.fit(x, y, validation=held_out)

    interrupt = Interrupt(at_step)
    stopped = make_trainer(epochs=10, callbacks=[interrupt], **OPTIONS[name])
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(x, y, validation=held_out)
    assert interrupt.state is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    steps = 1 if OPTIONS[name].get("batch_size", 16) is None else 4
    assert stopped.epoch * steps + interrupt.state[1]["step"] == at_step

    resumed = make_trainer(epochs=10, **OPTIONS[name])
    state = through_a_file(interrupt.state, tmp_path / "state.safetensors")
    resumed.fit(x, y, validation=held_out, resume_from=state)
    assert_same_run(whole, resumed, timeless)


@pytest.mark.parametrize("last", [False, True])
def test_ctrl_c_while_evaluating_is_not_lost(
    last: bool, make_trainer: Any, make_data: Any, timeless: Any
) -> None:
    class InterruptAt(Callback):
        state = None

        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            if epoch == (trainer.epochs if last else 2):
                os.kill(os.getpid(), signal.SIGINT)

        def on_interrupt(self, trainer: Any) -> None:
            self.state = trainer.state()

    x, y = make_data()
    interrupt = InterruptAt()
    stopped = make_trainer(callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(x, y)
    assert interrupt.state is not None
    assert interrupt.state[1]["epoch"] == (4 if last else 2)
    whole, resumed = make_trainer(), make_trainer()
    whole.fit(x, y)
    resumed.fit(x, y, resume_from=interrupt.state)
    assert_same_run(whole, resumed, timeless)


def test_a_real_process_that_is_interrupted(tmp_path: Path) -> None:
    """SIGINT from outside, by another process, at a moment of its own choosing."""
    script = textwrap.dedent("""
        import json, sys
        import numpy as np
        import flagstone as fs
        from flagstone.training.files import read_arrays, write_arrays

        class Keep(fs.Callback):
            def on_epoch_end(self, trainer, epoch, metrics):
                if epoch == 3:
                    print("three", flush=True)
            def on_interrupt(self, trainer):
                arrays, metadata = trainer.state()
                write_arrays("state.safetensors", arrays, metadata)

        rng = np.random.default_rng(0)
        x = rng.standard_normal((400, 5))
        y = (x.sum(axis=1) > 0).astype(int)
        resume = read_arrays("state.safetensors") if sys.argv[1] == "resume" else None
        model = fs.model("mlp", epochs=60, hidden=(8,), dropout=0.2, batch_size=10,
                         schedule="cosine")
        try:
            model.fit(x, y, callbacks=[Keep()], resume_from=resume)
        except KeyboardInterrupt:
            sys.exit(130)
        model.save(sys.argv[1] + ".safetensors")
        print(json.dumps([{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]))
    """)

    def start(mode: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, mode], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )

    with start("interrupted") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "three\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    _, metadata = read_arrays(tmp_path / "state.safetensors")
    assert 3 <= metadata["epoch"] < 60
    histories = []
    for mode in ("resume", "whole"):
        with start(mode) as process:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            histories.append(json.loads(out.splitlines()[-1]))
    assert histories[0] == histories[1]
    one, _ = read_arrays(tmp_path / "resume.safetensors")
    other, _ = read_arrays(tmp_path / "whole.safetensors")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_state_does_not_change_while_training_goes_on(make_trainer: Any, make_data: Any) -> None:
    x, y = make_data()
    keep = KeepStates()
    make_trainer(callbacks=[keep]).fit(x, y)
    arrays, metadata = keep.states[1]
    assert metadata["epoch"] == len(metadata["history"]) == 1
    assert not np.array_equal(arrays["parameters"], keep.states[4][0]["parameters"])
    json.dumps(metadata, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 7}, "made with seed 0; this run has 7"),
        ({"batch_size": 10}, "made with batch_size 16; this run has 10"),
        (
            {"optimizer": "sgd(momentum=0.9)"},
            "of another optimizer; .*SGD expected states velocity",
        ),
        (
            {"optimizer": "sgd"},
            "of another optimizer; .*SGD expected states none; got also m, t, v",
        ),
        ({"dtype": "float64"}, "hold parameters, float64 .*got float32 .*of another model"),
    ],
)
def test_the_state_of_another_run_is_refused(
    change: dict[str, Any], message: str, make_trainer: Any, make_network: Any, make_data: Any
) -> None:
    x, y = make_data()
    first = make_trainer(epochs=1)
    first.fit(x, y)
    layer = make_network(change.pop("dtype", "float32"))
    with pytest.raises(RunError, match=message):
        make_trainer(layer, **change).fit(x, y, resume_from=first.state())


def test_the_state_of_other_data_and_of_another_model_is_refused(
    make_trainer: Any, make_data: Any
) -> None:
    from flagstone import nn

    first = make_trainer(epochs=1)
    first.fit(*make_data())
    with pytest.raises(RunError, match="made with examples 50; this run has 40"):
        make_trainer().fit(*make_data(40), resume_from=first.state())
    other = nn.Sequential(nn.Linear(6, 3)).initialize(0)
    with pytest.raises(RunError, match=r"hold parameters, float32 .*: it is of another model"):
        make_trainer(other).fit(*make_data(), resume_from=first.state())
    arrays, metadata = first.state()
    with pytest.raises(RunError, match="made with scheme 0; this run has 1"):
        make_trainer().fit(*make_data(), resume_from=(arrays, {**metadata, "scheme": 0}))
    arrays.pop("buffers")
    with pytest.raises(RunError, match=r"hold buffers, float32 .*; got none"):
        make_trainer().fit(*make_data(), resume_from=(arrays, metadata))
