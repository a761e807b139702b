"""The training loop.

One step gathers a batch by number from the data on the device, runs the layer forward and back,
updates the parameters and adds to running sums, all without the host reading a value: what changes
from step to step (row numbers, learning rate, random counter) are arrays that an epoch's start puts
on the device. So a step is captured: :func:`flagstone.capture`. The host reads sums once an epoch.

The batch's loss is a sum; gradients are divided once by the batch's size when the optimizer reads
them. Everything random is a function of (seed, epoch, step), so a run resumed from
:meth:`Trainer.state` goes on bit for bit as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flagstone import random
from flagstone.augment import Augmentation, Chain
from flagstone.capturing import capture, forgotten
from flagstone.errors import InputError, RunError
from flagstone.nn import Layer, stream_position
from flagstone.optim import Optimizer
from flagstone.schedules import Constant, Schedule
from flagstone.tape import no_grad
from flagstone.tensors import Tensor
from flagstone.training.callbacks import Callback, Listeners, Metrics
from flagstone.training.device_data import DeviceData, Rows
from flagstone.training.evaluation import BATCH, Evaluation
from flagstone.training.inputs import inputs_of
from flagstone.training.interrupt import InterruptFlag
from flagstone.training.length import batches, begun, part, require_count
from flagstone.training.objective import Mixed, Objective
from flagstone.training.rounds import require_same_run
from flagstone.training.settled import Settled
from flagstone.training.streaming import placed
from flagstone.training.sums import Sums
from flagstone.training.values import divided, joined, set_values, values_of
from flagstone.training.whole_batches import WholeBatches, prepares

PROGRESS_EVERY = 0.1  # seconds


class Trainer:
    """Trains a layer.

    Args:
        layer: initialised; its parameters say device and dtype.
        objective: the loss and the measures.
        optimizer: over that layer.
        epochs: how many times to go through the data in all; of 9.9, the last time through nine
            tenths of its steps, where the schedule ends too.
        batch_size: examples per step; ``None`` for all of them.
        drop_last: leave out the last batch of an epoch where it would be smaller.
        lr: the base learning rate.
        schedule: how the rate changes; constant by default.
        augment: what changes each batch before the layer sees it, in training only.
        seed: of shuffles, augmentation and dropout.
        patience: stop when the monitored loss (the validation's, or the training's without one) has
            not improved for so many epochs, and go back to the best parameters; ``None`` to never.
        callbacks: what looks on.

    Attributes:
        epochs: how many epochs are begun, one that is not whole included.
        epoch: how many of them are done.
        history: one dict per epoch: ``{"epoch", "train", "validation", "lr", "seconds"}``.
        evaluate: called with :class:`DeviceData`, gives its mean loss and measures.
        stop: set it to end after the current epoch.
    """

    def __init__(
        self,
        layer: Layer,
        objective: Objective,
        optimizer: Optimizer,
        *,
        epochs: float,
        batch_size: int | None = 100,
        drop_last: bool = False,
        lr: float | None = None,
        schedule: Schedule | None = None,
        augment: Sequence[Augmentation] = (),
        seed: int = 0,
        patience: int | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.epochs, self._share = begun(epochs)
        for name, value in (("batch_size", batch_size), ("patience", patience)):
            if value is not None:
                require_count(name, value)
        self.layer, self.objective, self.optimizer = layer, objective, optimizer
        self.backend = optimizer.backend
        self.batch_size, self.drop_last = batch_size, drop_last
        self.seed, self.patience = seed, patience
        self.lr = optimizer.lr if lr is None else lr
        self.schedule = Constant() if schedule is None else schedule
        self.schedule.load_state_dict({})  # one that another trainer used begins anew
        self.augment = Chain(augment, seed, self.backend) if augment else None
        self.epoch = 0
        self.history: list[Metrics] = []
        self.stop = False
        self._listeners = Listeners(callbacks)
        self._dtype = optimizer.flat.values.dtype_name
        self._step_in_epoch = 0
        self._part = 0  # the steps of the epoch done last, where it was not whole
        self._sums = Sums(self.backend, self._dtype)  # of the epoch so far
        self._scales: dict[int, Tensor] = {}
        self._best_loss, self._best_epoch, self._seconds_before = math.inf, 0, 0.0
        self._best: dict[str, Any] = {}
        self.evaluate = Evaluation(layer, objective, self.backend)

    # The loop

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        weight: Any = None,
        validation: tuple[Any, Any] | None = None,
        resume_from: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
    ) -> list[Metrics]:
        """Train to the end, or to where a callback, patience, Ctrl-C or SIGTERM stops it.

        Args:
            x: inputs (n, ...), a NumPy array.
            y: targets as the objective wants them, (n, ...).
            weight: (n,) with mean 1, or ``None``.
            validation: inputs and targets that are evaluated after every epoch.
            resume_from: a :meth:`state` to go on from.

        Returns:
            The history.

        Raises:
            RunError: the loss is no longer finite, or the state is of another run.
            KeyboardInterrupt: after Ctrl-C, once the step was finished and callbacks were told;
                SystemExit: after SIGTERM.
        """
        if not len(x):
            raise InputError(f"fit: x expected at least one example; got shape {x.shape}")
        if self.augment is not None:
            self.augment.check(x.shape[1:])
            self.augment.begin(len(x))
        self._data = self._placed(x, y, weight, self.batch_size)
        self._weight = self._data.total_weight  # of the epoch's examples
        held_out = None
        if validation is not None:
            held_out = self._placed(*validation, None, BATCH)
        if resume_from is not None:
            self._restore(*resume_from)
        captured = capture(self._train_step, device=self.backend)  # these data are kept arrays
        self._step: Callable[..., None] = captured
        parts = [self.objective, *(self.augment.parts if self.augment else ())]
        self._settled = Settled(self.layer, captured, parts)
        self._listeners.tell("on_train_begin", self)
        self._whole = None
        is_unseen = not (validation or self.patience or self._listeners.has("on_epoch_end"))
        is_alone = len(x) <= (self.batch_size or len(x)) and not self._listeners.has("on_progress")
        is_plain = type(self)._train_epoch is Trainer._train_epoch
        if is_plain and is_alone and prepares(self._data, self.schedule):
            self._whole = WholeBatches(self._step, self._data, self._scale, self._rate, self.epochs)
        quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
        with forgotten(captured, self.evaluate.step), InterruptFlag() as flag, quiet:
            while self.epoch < self.epochs and not self.stop:
                if self._whole is not None and is_unseen and not self._step_in_epoch:
                    self._train_ahead(self._whole, flag)
                    continue
                started = time.perf_counter()
                lr = self._train_epoch(flag)
                metrics: Metrics = {"epoch": self.epoch + 1, "train": self._means()}
                self._require_finite(metrics["train"]["loss"])
                if held_out is not None:
                    metrics["validation"] = self.evaluate(held_out)
                    self._require_finite(metrics["validation"]["loss"], "validation ")
                metrics["lr"] = lr
                metrics["seconds"] = self._seconds_before + time.perf_counter() - started
                self._finish_epoch(metrics)
                self._heed(flag)  # Ctrl-C came while evaluating, or in a callback
            self._settle()
            self._whole = None  # what it replays is forgotten
        self._listeners.tell("on_train_end", self)
        return self.history

    def solve(
        self,
        solution: Callable[[Layer, Any, Any, Any], Metrics | None],
        x: Any,
        y: Any,
        *,
        weight: Any = None,
        validation: tuple[Any, Any] | None = None,
    ) -> list[Metrics]:
        """Let ``solution(layer, x, y, weight)`` set the parameters; reported as one epoch, with the
        metrics that it returns if it does."""
        started = time.perf_counter()
        self.epochs = 1
        self._data = self._placed(x, y, weight, BATCH)
        self._listeners.tell("on_train_begin", self)
        told = solution(self.layer, x, y, weight)
        metrics: Metrics = {"epoch": 1, "train": told or self.evaluate(self._data)}
        if validation is not None:
            held_out = self._placed(*validation, None, BATCH)
            metrics["validation"] = self.evaluate(held_out)
        metrics["lr"], metrics["seconds"] = 0.0, time.perf_counter() - started
        self._finish_epoch(metrics)
        self._listeners.tell("on_train_end", self)
        return self.history

    def _placed(self, x: Any, y: Any, weight: Any, batch_size: int | None) -> DeviceData:
        y = y.astype(self._dtype) if self.objective.takes_floats else y
        return placed(x, y, weight, self.backend, self._dtype, batch_size)

    def _train_epoch(self, flag: InterruptFlag) -> float:
        """Run the epoch's remaining steps; the learning rate of its last one."""
        if self._whole is not None and not self._step_in_epoch:
            self.optimizer.start_epoch(self.epoch, self.epochs, 1)
            self._settled.before_epoch()
            return self._whole.step(self.epoch)  # ``fit`` heeds the flag
        data, first = self._data, self._step_in_epoch
        size, steps, count = self._batches(self.epoch)
        rates = [self._rate(self.epoch * steps + i, steps) for i in range(count)]
        counters = np.array([[i, self.epoch] for i in range(count)], np.uint64)
        epochs = self.epochs if self._share == 1 else self._total(steps) / steps
        self.optimizer.start_epoch(self.epoch, epochs, steps)
        tables = [
            Tensor(self.backend.asarray(a), self.backend)
            for a in (np.array(rates, self._dtype), counters)
        ]
        self._settled.before_epoch()
        key = (self.seed, self.epoch)
        told, wants_progress = time.perf_counter(), self._listeners.has("on_progress")
        self._weight = data.weight_of(size * count, key)
        self._part = count % steps
        for done in data.steps(self._step, first, size, key, tuple(tables), self._scale, count):
            self._step_in_epoch = done
            if flag.raised:
                self._heed(flag)
            if wants_progress and time.perf_counter() - told > PROGRESS_EVERY:
                told = time.perf_counter()
                self._listeners.tell("on_progress", self, done, count)
        return rates[-1]

    def _batches(self, epoch: int) -> tuple[int, int, int]:
        """A batch's examples, how many batches a whole epoch has, and how many this one has."""
        size, steps = batches(self._data.n, self.batch_size, self.drop_last)
        return size, steps, steps if epoch < self.epochs - 1 else part(steps, self._share)

    def _train_ahead(self, whole: WholeBatches, flag: InterruptFlag) -> None:
        """Run epochs of one step that nobody looks at, and read their sums afterwards."""
        started = time.perf_counter()
        self._settled.before_epoch()
        rates, tables = whole.run(
            self.epoch, self.optimizer.start_epoch, self._sums, lambda: flag.raised or self.stop
        )
        names, means = self._sums.means(tables, len(rates), self._weight)
        seconds = (time.perf_counter() - started) / len(rates)
        for lr, row in zip(rates, means.tolist(), strict=True):
            train = dict(zip(names, row, strict=True))
            self._require_finite(train["loss"])
            self.epoch += 1
            self.history.append({"epoch": self.epoch, "train": train, "lr": lr, "seconds": seconds})
        self._heed(flag)

    def _rate(self, step: int, steps: int = 1) -> float:
        """The learning rate at a step, from 0, where an epoch has so many."""
        return self.lr * self.schedule.factor(step, self._total(steps), steps)

    def _total(self, steps: int) -> int:
        """The steps of the whole training."""
        return (self.epochs - 1) * steps + part(steps, self._share)

    def _heed(self, flag: InterruptFlag) -> None:
        if flag.raised:
            self._listeners.tell("on_interrupt", self)
            flag.end()

    def _train_step(self, rows: Rows, lr: Tensor, place: Tensor, scale: Tensor) -> None:
        """One training step; nothing in it reads the device."""
        given, y, weight = self._data.examples(rows)
        x, mixture = inputs_of(self.layer, given, self.augment, place, self._data.numbers(rows))
        objective = self.objective
        if mixture is not None:
            objective, weight = Mixed(objective, mixture, weight), None
        with stream_position(place):
            out = self.layer(x)
        total = objective.total(out, y, weight)
        penalty = objective.penalty(self.layer)
        if penalty is not None:
            total = total + penalty / scale
        self.optimizer.zero_grad()
        self.optimizer.backward(total, scale)
        self.optimizer.step(lr=lr, scale=scale)
        with no_grad():
            self._sums.add("loss", total)
            for name, values in objective.measures(out, y).items():
                self._sums.add(name, (values if weight is None else values * weight).sum())

    # Sums on the device

    def _means(self) -> dict[str, float]:
        return {name: value / self._weight for name, value in self._sums.read().items()}

    def _scale(self, batch: int) -> Tensor:
        if batch not in self._scales:
            value = self.backend.asarray(np.asarray(1 / batch, self._dtype))
            self._scales[batch] = Tensor(value, self.backend)
        return self._scales[batch]

    # After an epoch

    def _finish_epoch(self, metrics: Metrics) -> None:
        self.epoch, self._step_in_epoch, self._seconds_before = self.epoch + 1, 0, 0.0
        self.history.append(metrics)
        loss = metrics["validation" if "validation" in metrics else "train"]["loss"]
        if not self._part:  # else it may be taken up again
            self._sums.clear()
            self.schedule.observe(loss, self.epoch)
        if self.patience is not None:
            if loss < self._best_loss:
                self._best_loss, self._best_epoch = loss, self.epoch
                self._best = values_of(self.layer, self.optimizer.flat)
            self.stop = self.stop or self._is_out_of_patience()
        self._listeners.tell("on_epoch_end", self, self.epoch, metrics)

    def _is_out_of_patience(self) -> bool:
        return self.patience is not None and self.epoch - self._best_epoch >= self.patience

    def _settle(self) -> None:
        """Leave the parameters that count: the best ones, or what the optimizer makes of them."""
        if self._best:
            set_values(self.layer, self.optimizer.flat, self._best)
        else:
            self.optimizer.finish()

    def _require_finite(self, loss: float, of: str = "") -> None:
        if not math.isfinite(loss):
            raise RunError(
                f"the {of}loss is {loss} after epoch {self.epoch + 1}: training diverged. "
                f"Lower lr (now {self.lr:g}), limit gradients with "
                f"optimizer='adam(clip_norm=1.0)', or check the {of}data"
            )

    # Checkpoints

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything that :meth:`fit` needs to go on: NumPy arrays, and what JSON can hold."""
        arrays = joined(
            values_of(self.layer, self.optimizer.flat),
            optimizer=self.optimizer.state_dict(),
            best=self._best,
            sum=self._sums.state() if self._step_in_epoch or self._part else {},
        )
        metadata = {
            **self._identity(),
            "epoch": self.epoch,
            "step": self._step_in_epoch,
            "part": 0 if self._step_in_epoch else self._part,
            "sums": list(self._sums.state()),
            "history": list(self.history),
            "schedule": self.schedule.state_dict(),
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss if math.isfinite(self._best_loss) else None,
        }
        return arrays, metadata

    def _identity(self) -> dict[str, Any]:
        """What a state to go on from must have been made with."""
        return {
            "scheme": random.SCHEME,
            "seed": self.seed,
            "examples": self._data.n,
            "batch_size": self.batch_size,
            "augment": str(self.augment or ""),
            "drop_last": self.drop_last,
        }

    def _restore(self, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        require_same_run({"drop_last": False, **metadata}, self._identity())  # older: without
        parts = divided(arrays, ("optimizer", "best", "sum"))
        set_values(self.layer, self.optimizer.flat, parts[""])
        try:
            self.optimizer.load_state_dict(parts["optimizer"])
        except InputError as error:
            raise RunError(f"resume: the checkpoint is of another optimizer; {error}") from None
        self._best, self.history = parts["best"], list(metadata["history"])
        self._sums.restore(parts["sum"], metadata.get("sums", ()))
        self.epoch, self._step_in_epoch = int(metadata["epoch"]), int(metadata["step"])
        self.schedule.load_state_dict(metadata.get("schedule", {}))
        best = metadata["best_loss"]
        self._best_loss = math.inf if best is None else float(best)
        self._best_epoch, self._part = int(metadata["best_epoch"]), int(metadata.get("part", 0))
        if self._part and self._part < self._batches(self.epoch - 1)[-1]:
            self.epoch, self._step_in_epoch = self.epoch - 1, self._part
            self._seconds_before = self.history.pop()["seconds"]
        self.stop = self._is_out_of_patience()  # a callback's stop is over; it may stop again
