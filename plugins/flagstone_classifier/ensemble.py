"""Several classifiers of one kind, whose probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import flagstone as fs
from flagstone import nn, ops
from flagstone.errors import ConfigurationError
from flagstone.estimator import LabelPredictor
from flagstone.named import parse
from flagstone.random import SCHEME, key
from flagstone.training import Callback, Lines, Rounds, require_same_run

TOO = ("seed", "device", "verbose")  # what the ensemble has itself
Metrics = dict[str, Any]


class Average(nn.Layer):
    """The logarithm of the mean of the members' probabilities: logits of the same probabilities.

    Args:
        members: layers of the same input; each gives a logit per class, or, of two classes, one.

    Shapes: whatever members take -> (n, classes).
    """

    def __init__(self, members: Sequence[nn.Layer]) -> None:
        self.members = list(members)

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        """Log-probabilities (n, classes)."""
        logs = [ops.log_softmax(_per_class(member(x)), axis=1) for member in self.members]
        total: fs.Tensor = ops.logsumexp(ops.stack(*logs, axis=0), axis=0)
        return total - math.log(len(logs))


def _per_class(logits: fs.Tensor) -> fs.Tensor:
    if logits.shape[1] > 1:
        return logits
    both: fs.Tensor = ops.concatenate(logits * 0.0, logits, axis=1)
    return both


class _OfMembers:
    """A fact of the class that is the members'; of the ensemble's own class the default's."""

    def __init__(self, default: Any) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, model: Any, owner: type) -> Any:
        return self.default if model is None else getattr(model._member_class(), self.name)


@dataclass(kw_only=True, eq=False, repr=False)
class Ensemble(LabelPredictor):
    """An ensemble: classifiers of one kind that differ in their seeds, their probabilities averaged
    (Hansen & Salamon, "Neural network ensembles", 1990).

    Where a seed changes nothing, as in ``logistic``, which ends at its one optimum, members are
    alike.

    Attributes:
        member: a registered classifier, with hyper-parameters as in ``"cnn(epochs=3, lr=0.01)"``.
        members: how many.
        seed: the members' seeds are made of it, so that no two ensembles share a member.
        device: where to train and predict: auto, cpu, cuda:N or a backend's name.
        verbose: print a line per epoch to standard error.

    After ``fit``:

    Attributes:
        classes_: the labels, sorted; columns of ``predict_proba`` follow them.
        n_members_: how many there are; fewer than asked for if a callback stopped training.
        history_: one dict per epoch of each member in turn, with its number as ``member``.
    """

    member: str = "cnn"
    members: int = 7
    seed: int = 0
    device: str = "auto"
    verbose: bool = False

    takes_images_only = _OfMembers(True)
    predicts_in = _OfMembers("float32")

    def check_hyperparameters(self) -> None:
        """Raise for values that no data could make right, the members' among them."""
        if self.members < 1:
            raise ConfigurationError(
                f"Ensemble: members expected a positive integer; got {self.members}"
            )
        if not 0 <= self.seed < 2**64:
            raise ConfigurationError(
                f"Ensemble: seed expected an integer in [0, 2**64); got {self.seed}"
            )
        with self._naming_member():
            member = self._member(0)
            member.check_types()
            member.check_hyperparameters()
        if member._margin():
            raise ConfigurationError(
                "Ensemble: member expected no threshold, for probabilities are averaged; "
                f"got {self.member!r}"
            )

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        resume_from: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
    ) -> Any:
        """Train the members one after another; arguments are those of any model's ``fit``.

        To callbacks the epochs of all members are one training. One that stops it leaves an
        ensemble of the members so far.
        """
        self.check_types()
        self.check_hyperparameters()
        training = _Training(self, callbacks, resume_from)
        for i in range(training.finished, self.members):
            member = self._member(i)
            with self._naming_member():
                member.fit(
                    X, y, sample_weight, validation_data=validation_data,
                    callbacks=[_Relay(training, i, member)], resume_from=training.state_of_member,
                )  # fmt: skip
            training.finish(i, member)
            if training.stopped:
                break
        self.n_members_ = training.finished
        if self.n_members_ < self.members:
            whole, self.layer_ = training.layer.state_dict(), self._assemble(training.backend)
            own = self.layer_.state_dict()
            self.layer_.load_state_dict({name: whole[name] for name in own})
        else:
            self.layer_ = training.layer
        self.device_ = str(training.backend.device)
        self.n_parameters_ = self.n_members_ * member.n_parameters_
        self.history_ = training.rounds.history
        training.rounds.tell("on_train_end")
        return self

    @contextmanager
    def _naming_member(self) -> Iterator[None]:
        """Errors that name a member's class name the member's text first, which is what a user
        wrote."""
        try:
            yield
        except fs.errors.FlagstoneError as error:
            own = f"{self._member_class().__name__}: "
            if str(error).startswith(own):
                error.args = (f"Ensemble: member {self.member!r}: {error}", *error.args[1:])
            raise

    def _learn_from(self, member: Any) -> None:
        """Take over what a member's ``fit`` has seen of the data."""
        self._inputs, self.classes_ = member._inputs, member.classes_
        self._outputs = fs.Spec((len(self.classes_),))
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(member, name):
                setattr(self, name, getattr(member, name))

    def _assemble(self, backend: Any) -> Average:
        count = self.__dict__.get("n_members_", self.members)
        layers = []
        for i in range(count):
            member = self._member(i)
            member._inputs = self._inputs
            member._outputs = fs.Spec((1,)) if member.binary_only else self._outputs
            layers.append(member._assemble(backend))
        dtype = layers[0].dtype_name
        average = Average(layers)
        average.initialize(self.seed, device=str(backend.device), dtype=dtype)
        return average

    def _member_class(self) -> Any:
        name, _ = parse("member", self.member)
        spec = fs.plugins.registry.find("model", name)
        cls = spec.load()
        if spec.task != "classification" or not issubclass(cls, fs.Classifier):
            what = "an ensemble itself" if issubclass(cls, Ensemble) else f"for {spec.task}"
            raise ConfigurationError(
                f"Ensemble: member expected a classifier with one layer; {name!r} is {what}"
            )
        return cls

    def _member(self, i: int) -> Any:
        self._member_class()  # tells what is wrong with the name
        name, options = parse("member", self.member)
        for option in TOO:
            if option in options:
                raise ConfigurationError(
                    f"Ensemble: member expected no {option}, which is the ensemble's own; "
                    f"got {self.member!r}"
                )
        seed = int(key(self.seed, "member", str(i))[0] >> 1)
        return fs.model(name, **{**options, "seed": seed, "device": self.device})


class _Training:
    """The members' trainings as one: what is finished, and what callbacks are told."""

    def __init__(self, ensemble: Ensemble, callbacks: Sequence[Callback], resume_from: Any) -> None:
        self.ensemble = ensemble
        self.callbacks = [*callbacks, *([Lines()] if ensemble.verbose else [])]
        self.finished, self.stopped = 0, False
        self.trainer: Any = None  # the current member's
        self.state_of_member: Any = None
        self._resume_from = resume_from
        ensemble.__dict__.pop("n_members_", None)
        if resume_from is not None:
            arrays, metadata = resume_from
            require_same_run(metadata, self._identity())
            self.finished = int(metadata["finished"])
            now = {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith("trainer.")}
            self.state_of_member = now, metadata["trainer"]

    def begin(self, trainer: Any, member: Any) -> None:
        """A member begins; with the first one everything does."""
        first = self.trainer is None
        self.trainer, self.backend = trainer, trainer.backend
        if not first:
            return
        self.ensemble._learn_from(member)
        self.layer = self.ensemble._assemble(self.backend)
        epochs = trainer.epochs * self.ensemble.members
        self.rounds = Rounds(self.layer, epochs, self.callbacks, self.state)
        if self._resume_from is not None:
            arrays, metadata = self._resume_from
            for i in range(self.finished):
                start = f"member{i}."
                values = {
                    k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)
                }
                self.layer.members[i].load_state_dict(values)
            self.rounds.restore(metadata["history"])
            self.rounds.epochs = int(metadata["epochs"])
        self.rounds.tell("on_train_begin")

    def finish(self, i: int, member: Any) -> None:
        """A member is trained."""
        self.layer.members[i].load_state_dict(member.layer_.state_dict())
        self.rounds.epochs -= self.trainer.epochs - self.trainer.epoch  # it may have stopped early
        self.finished, self.state_of_member = i + 1, None

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The finished members, and the current one's trainer."""
        arrays, metadata = self.trainer.state()
        arrays = {f"trainer.{name}": value for name, value in arrays.items()}
        for i in range(self.finished):
            values = self.layer.members[i].state_dict()
            arrays.update({f"member{i}.{name}": value for name, value in values.items()})
        return arrays, {
            **self._identity(),
            "finished": self.finished,
            "trainer": metadata,
            "history": list(self.rounds.history),
            "epochs": self.rounds.epochs,
            "epoch": self.rounds.epoch,
        }

    def _identity(self) -> dict[str, Any]:
        model = self.ensemble
        return {
            "scheme": SCHEME, "seed": model.seed, "member": model.member, "members": model.members,
        }  # fmt: skip


class _Relay(Callback):
    """Tells the ensemble's callbacks what a member's trainer tells."""

    def __init__(self, training: _Training, i: int, member: Any) -> None:
        self.training, self.i, self.member = training, i, member

    def on_train_begin(self, trainer: Any) -> None:
        self.training.begin(trainer, self.member)

    def on_progress(self, trainer: Any, step: int, steps: int) -> None:
        self.training.rounds.tell("on_progress", step, steps)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Metrics) -> None:
        training = self.training
        last = self.i + 1 == training.ensemble.members
        training.rounds.stop = last and trainer.stop
        training.rounds.finish_epoch({**metrics, "member": self.i + 1})
        if training.rounds.stop and not trainer.stop:
            trainer.stop = training.stopped = True

    def on_interrupt(self, trainer: Any) -> None:
        self.training.rounds.tell("on_interrupt")
