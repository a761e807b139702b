"""What fit and predict take, give and refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import (
    DTypeError,
    FlagstoneError,
    InputError,
    PluginError,
    ShapeError,
)
from flagstone.estimator.standardize import statistics


def table(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def images(n: int = 12, channels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (n, 6, 5) if channels is None else (n, 6, 5, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8), np.arange(n) % 2


def small(name: str, **params: Any) -> Any:
    return fs.model(name, **{"epochs": 2, **params})


# What is taken


LABELS = [
    np.array(["no", "yes"]), np.array([False, True]), np.array([-7, 3]), np.array([1.0, 2.0]),
    np.array(["a", "b"], object), np.array([2**40, 2**50]), np.array([0, 255], np.uint8),
]  # fmt: skip


@pytest.mark.parametrize("labels", LABELS, ids=lambda a: f"{a.dtype}")
@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_labels_of_any_type(name: str, labels: np.ndarray) -> None:
    x, codes = table()
    model = small(name, epochs=100).fit(x, labels[codes], validation_data=(x, labels[codes]))
    np.testing.assert_array_equal(model.classes_, labels)
    predicted = model.predict(x)
    assert predicted.dtype == labels.dtype
    assert predicted.shape == (60,)
    assert model.score(x, labels[codes]) > 0.9
    np.testing.assert_array_equal(predicted == labels[1], model.predict_proba(x)[:, 1] > 0.5)
    assert model.evaluate(x, labels[codes])["accuracy"] == model.score(x, labels[codes])
    assert model.history_[-1]["validation"]["accuracy"] == pytest.approx(
        model.score(x, labels[codes])
    )


@pytest.mark.parametrize("library", ["list", "pandas", "polars"])
def test_lists_and_data_frames(library: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which reads them, is not installed")
    x, y = table()
    model = small("mlp").fit(x, y)
    if library == "list":
        other = small("mlp").fit(x.tolist(), y.tolist())
        given: Any = x.tolist()
    else:
        frames = pytest.importorskip(library, reason=f"{library} is not installed")
        given = frames.DataFrame({f"f{i}": x[:, i] for i in range(4)})
        other = small("mlp").fit(given, frames.Series(y))
        assert other.feature_names_in_.tolist() == ["f0", "f1", "f2", "f3"]
        with pytest.raises(InputError, match="feature names"):
            other.predict(given[["f1", "f0", "f2", "f3"]])
    np.testing.assert_array_equal(model.predict_proba(x), other.predict_proba(given))


def test_a_column_of_labels_warns() -> None:
    exceptions = pytest.importorskip("sklearn.exceptions", reason="scikit-learn is not installed")
    x, y = table()
    with pytest.warns(exceptions.DataConversionWarning, match="column-vector y"):
        model = small("softmax").fit(x, y[:, None])
    assert model.predict(x).shape == (60,)


@pytest.mark.parametrize("name", ["cnn", "lenet", "mlp", "softmax", "logistic", "linear"])
def test_images_with_and_without_a_channel_axis_and_as_rows(name: str) -> None:
    x, y = images()
    model = small(name).fit(x, y)
    one = model.predict(x)
    np.testing.assert_array_equal(small(name).fit(x[..., None], y).predict(x[..., None]), one)
    np.testing.assert_array_equal(model.predict(x[..., None]), one)
    np.testing.assert_array_equal(model.predict(x.reshape(12, 30)), one)
    np.testing.assert_array_equal(model.predict(x.astype(np.float64)), one)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(ShapeError, match=r"X: expected examples of shape \(6, 5, 1\).*\(5, 6, 1\)"):
        model.predict(x.transpose(0, 2, 1))
    with pytest.raises(ShapeError, match=r"expected examples of shape \(6, 5, 1\).*\(29,\)"):
        model.predict(x.reshape(12, 30)[:, 1:])


@pytest.mark.parametrize("name", ["cnn", "lenet"])
def test_flat_rows_are_folded_by_image_shape(name: str) -> None:
    x, y = images(channels=3)
    model = small(name).fit(x, y)
    rows = small(name, image_shape=(6, 5, 3)).fit(x.reshape(12, -1), y)
    np.testing.assert_array_equal(rows.predict_proba(x.reshape(12, -1)), model.predict_proba(x))
    np.testing.assert_array_equal(rows.predict_proba(x), model.predict_proba(x))
    assert rows.n_features_in_ == 90
    same = small(name, image_shape=(6, 5, 3)).fit(x, y)
    np.testing.assert_array_equal(same.predict_proba(x), model.predict_proba(x))
    with pytest.raises(ShapeError, match=r"image_shape=\(4, 4\) says; got .* \(6, 5, 3\)$"):
        small(name, image_shape=(4, 4)).fit(x, y)


def test_integers_and_floats_of_equal_value_train_alike() -> None:
    x, y = images()
    one = small("cnn").fit(x, y)
    other = small("cnn").fit(x.astype(np.float32), y)
    np.testing.assert_array_equal(one.predict_proba(x), other.predict_proba(x))
    table_x = x.reshape(12, -1)
    one, other = (small("mlp").fit(a, y) for a in (table_x, table_x.astype(float)))
    np.testing.assert_allclose(one.predict_proba(table_x), other.predict_proba(table_x), atol=1e-6)


def test_a_refit_forgets_what_was_before() -> None:
    x, y = table()
    model = small("softmax").fit(x, y)
    assert model.n_features_in_ == 4
    pictures, labels = images()
    model.fit(pictures, np.array(["a", "b"])[labels])
    assert not hasattr(model, "n_features_in_")
    assert model.predict(pictures).tolist()[0] in ("a", "b")
    fresh = small("softmax").fit(pictures, np.array(["a", "b"])[labels])
    np.testing.assert_array_equal(model.predict_proba(pictures), fresh.predict_proba(pictures))


# What is refused


def bad_data() -> dict[str, tuple[Any, Any, type[FlagstoneError], str]]:
    x, y = table()
    nan, inf = x.copy(), x.copy()
    nan[3, 1], inf[3, 1] = np.nan, np.inf
    pictures, labels = images()
    broken = pictures.astype(float)
    broken[0, 0, 0] = np.nan
    return {
        "NaN": (nan, y, InputError, "NaN"),
        "infinity": (inf, y, InputError, "infinity"),
        "one class": (x, y * 0, InputError, "at least two classes; got one class, 0"),
        "lengths": (x, y[:-1], InputError, r"inconsistent numbers of samples|one value for each"),
        "no rows": (x[:0], y[:0], InputError, r"0 sample"),
        "text": (np.array([["a", "b"]] * 4), [0, 1, 0, 1], FlagstoneError, r"convert|numeric"),
        "complex": (x + 1j, y, InputError, "[Cc]omplex"),
        "continuous labels": (x, x[:, 0], InputError, "continuous"),
        "no labels": (x, None, InputError, "requires y to be passed|y cannot be None"),
        "one axis": (x[:, 0], y, InputError, "2D array"),
        "five axes": (x[:, :, None, None, None], y, InputError, "dim 5|2D"),
        "images, NaN": (broken, labels, InputError, "X: expected finite numbers; got NaN"),
        "images, none": (pictures[:0], labels[:0], InputError, "X: expected at least one image"),
        "images, text": (pictures.astype(str), labels, DTypeError, "X: expected images of numbers"),
        "images, lengths": (pictures, labels[:5], ShapeError, "y: expected one .* of 12 images"),
        "images, continuous": (pictures, labels + 0.5, InputError, "y: expected class labels"),
    }


@pytest.mark.parametrize("case", bad_data())
def test_bad_data_is_refused(case: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which words some of these, is not there")
    x, y, error, message = bad_data()[case]
    with pytest.raises(error, match=message):
        small("softmax").fit(x, y)


def test_the_wrong_number_of_features_is_named() -> None:
    x, y = table()
    for name in ("softmax", "linear"):
        with pytest.raises(InputError, match=r"(expecting|expected) 4 features"):
            small(name).fit(x, y).predict(x[:, :3])


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        (lambda x, y: (x, np.where(y == 1, 2, y)), InputError, "classes of the training.*also 2"),
        (lambda x, y: (x, np.array(["a"] * 60)), InputError, "classes of the training.*also a"),
        (lambda x, y: (x, np.array([0, "a", None] * 20, object)), InputError, "classes of the"),
        (lambda x, y: (x, y[:-1]), ShapeError, r"y: expected one value for each of 60 examples"),
        (lambda x, y: (x, y[:, None]), ShapeError, r"y: expected one value .*\(60, 1\)"),
        (lambda x, y: (x[:, :2], y), InputError, r"4 features"),
        (lambda x, y: (x * np.nan, y), InputError, "NaN"),
        (lambda x, y: (x, y * np.nan), InputError, "y: expected finite numbers"),
    ],
)
def test_bad_validation_data_is_refused_before_training(
    validation: Any, error: type[FlagstoneError], message: str
) -> None:
    x, y = table()
    model = small("softmax")
    with pytest.raises(error, match=message):
        model.fit(x, y, validation_data=validation(x, y))
    assert not hasattr(model, "layer_")


def test_a_build_that_returns_no_layer_is_the_plugins_fault() -> None:
    @dataclass(kw_only=True, eq=False, repr=False)
    class Broken(fs.Classifier):
        def build(self, inputs: Any, outputs: Any) -> Any:
            return None

    with pytest.raises(PluginError, match=r"Broken\.build: expected to return a .*NoneType"):
        Broken().fit(*table())


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("base", [fs.Classifier, fs.Regressor])
def test_a_build_of_another_width_is_the_plugins_fault(base: Any, off: int) -> None:
    @dataclass(kw_only=True, eq=False, repr=False)
    class Broken(base):  # type: ignore[misc]  # a base that is a parameter
        def build(self, inputs: Any, outputs: Any) -> Any:
            return nn.Linear(inputs.size, outputs.size + off)

    x = table()[0]
    y = np.arange(len(x)) % 3 if base is fs.Classifier else x[:, :2]
    outputs = 3 if base is fs.Classifier else 2
    message = rf"Broken\.build: .* shape \(1, {outputs}\) .*; it gives \(1, {outputs + off}\)$"
    model = Broken(device="cpu")
    with pytest.raises(PluginError, match=message):
        model.fit(x, y)
    assert not hasattr(model, "layer_")


# Weights


def test_equal_weights_are_none() -> None:
    x, y = table()
    plain = small("mlp").fit(x, y).predict_proba(x)
    for weight in (np.full(60, 7.0), 3.0, [2] * 60):
        np.testing.assert_allclose(small("mlp").fit(x, y, weight).predict_proba(x), plain, 1e-5)


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones(59), ShapeError, r"sample_weight: expected shape \(60,\); got \(59,\)"),
        (np.ones((60, 1)), ShapeError, r"sample_weight: expected shape \(60,\); got \(60, 1\)"),
        (-np.ones(60), InputError, "sample_weight: expected finite numbers >= 0"),
        (np.zeros(60), InputError, "sample_weight: .* not all zero"),
        (np.full(60, np.nan), InputError, "sample_weight: expected finite numbers"),
        (["a"] * 60, DTypeError, "sample_weight: expected numbers; got dtype <U1"),
    ],
)
def test_bad_weights_are_refused(weight: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        small("softmax").fit(*table(), weight)


@pytest.mark.parametrize("shape", [(9000, 3), (50, 4, 5, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_are_numpys(shape: tuple[int, ...], weighted: bool) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 3 + 1e4).astype(np.float32)  # squares would cancel in float32
    weight = rng.random(shape[0]) if weighted else None
    flat = x.astype(np.float64).reshape(-1, shape[-1])
    each = np.ones(len(flat)) if weight is None else np.repeat(weight, len(flat) // shape[0])
    mean = np.average(flat, axis=0, weights=each)
    deviation = np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=each))
    given = statistics(x, weight)
    np.testing.assert_allclose(given[0], mean, rtol=1e-10)
    np.testing.assert_allclose(given[1], deviation, rtol=1e-7)


def test_a_constant_feature_has_scale_1() -> None:
    x = np.full((5000, 2), 0.1)
    x[:, 1] = np.arange(5000)
    mean, scale = statistics(x)
    assert scale[0] == 1.0
    assert mean[0] == pytest.approx(0.1)
    model = small("softmax").fit(x, np.arange(5000) % 2)
    assert np.isfinite(model.predict_proba(x)).all()


def test_the_kept_statistics_standardise_the_training_data() -> None:
    x, y = table()
    x = x * [1, 100, 0.01, 5] + [0, -50, 3, 1e3]
    first = small("mlp").fit(x, y).layer_[0]
    z = (x - first.mean.numpy()) * first.inverse_scale.numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-4)
    assert not isinstance(small("mlp", standardize=False).fit(x, y).layer_[0], nn.Standardize)


# Training


def test_equal_seeds_give_equal_models_and_a_fit_does_not_go_on() -> None:
    x, y = table()
    one = small("mlp", dropout=0.3).fit(x, y)
    first = one.predict_proba(x)
    np.testing.assert_array_equal(one.fit(x, y).predict_proba(x), first)
    other = small("mlp", dropout=0.3, seed=1).fit(x, y)
    assert not np.array_equal(other.predict_proba(x), first)


def test_a_fraction_is_held_out_and_patience_watches_it() -> None:
    x, y = table()
    model = small("mlp", epochs=200, validation_fraction=0.25, patience=3, lr=0.05).fit(x, y)
    losses = [epoch["validation"]["loss"] for epoch in model.history_]
    assert len(losses) == int(np.argmin(losses)) + 1 + 3 < 200
    same = small("mlp", epochs=200, validation_fraction=0.25, patience=3, lr=0.05).fit(x, y)
    np.testing.assert_array_equal(model.predict_proba(x), same.predict_proba(x))


def test_verbose_prints_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = table()
    small("softmax").fit(x, y)
    assert capsys.readouterr() == ("", "")
    small("softmax", verbose=True).fit(x, y, validation_data=(x, y))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    for i, line in enumerate(lines, 1):
        assert re.search(rf"{i}\b.*train loss .*accuracy .*validation loss", line)


def test_regression_takes_and_gives_targets_as_they_are() -> None:
    x, _ = table()
    y = x @ np.ones((4, 2)) * [1, 100] + [0, 1e4]
    model = small("mlp-regressor", epochs=50).fit(x, y, validation_data=(x, y))
    assert model.predict(x).shape == (60, 2)
    scores = model.evaluate(x, y)
    error = model.predict(x) - y
    assert scores["mse"] == pytest.approx((error**2).mean())
    assert scores["mae"] == pytest.approx(np.abs(error).mean())
    assert scores["loss"] == pytest.approx(((error / y.std(axis=0)) ** 2).mean(), rel=1e-5)
    last = model.history_[-1]["validation"]
    for measure in ("mse", "mae", "loss"):
        assert last[measure] == pytest.approx(scores[measure], rel=1e-3)
    assert small("linear").fit(x, y[:, 0]).predict(x).shape == (60,)
    with pytest.raises(ShapeError, match="y: expected 2 targets, as in fit; got 1"):
        model.evaluate(x, y[:, 0])
    with pytest.raises(DTypeError, match="y: expected numbers; got dtype <U1"):
        model.evaluate(x, np.array(["a"] * 60))
