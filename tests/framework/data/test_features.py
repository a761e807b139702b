"""read_features: the rows to predict, by name or by place, from a file or standard input."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from flagstone.data import read_features
from flagstone.errors import FlagstoneError, InputError

ROWS = [[1.0, 2.0], [3.0, 4.0]]


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "rows.csv"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("1,2\n3,4\n", {}),
        ("a,b\n1,2\n3,4\n", {}),
        ("1,2\n3,4\n", {"n_features": 2}),
        ("1,2\n3,4\n", {"feature_names": ("a", "b")}),
        ("a,b\n1,2\n3,4\n", {"feature_names": ("a", "b")}),
        ("b,a\n2,1\n4,3\n", {"feature_names": ("a", "b")}),
        ("b,kind,a\n2,x,1\n4,y,3\n", {"feature_names": ("a", "b"), "drop": ("kind",)}),
        ("id,b,a\nk1,2,1\nk2,4,3\n", {"feature_names": ("a", "b")}),
        ("kind,a,b\nx,1,2\ny,3,4\n", {"n_features": 2, "drop": ("kind",)}),
        ("kind,a,b\nx,1,2\ny,3,4\n", {"drop": ("kind",)}),
        ("1,2,x\n3,4,y\n", {"n_features": 2, "drop": (-1,)}),
        ("x,1,2\ny,3,4\n", {"n_features": 2, "drop": ("kind", 0)}),
        ("1,2\n3,4\n", {"n_features": 2, "drop": ("kind", -1)}),
        ("a,b\n1,2\n3,4\n", {"n_features": 2, "drop": ("kind", -1)}),
    ],
)
def test_the_features_of_a_file(write, text: str, options: dict) -> None:
    X = read_features(write(text), **options)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, ROWS)


BAD = {
    "missing column": (
        "a,c\n1,2\n",
        {"feature_names": ("a", "bb")},
        InputError,
        "column 'bb' is missing; the file has a, c",
    ),
    "missing columns": (
        "x2,z\n1,2\n",
        {"feature_names": ("x1", "x2", "x3")},
        InputError,
        "columns 'x1', 'x3' are missing; the file has x2, z",
    ),
    "too many to be the target's": (
        "1,2,3,4\n",
        {"n_features": 2, "drop": (-1,)},
        InputError,
        "the model takes 2 feature columns; the file has 4. If",
    ),
    "too many beside the target": (
        "a,b,c,kind\n1,2,3,4\n",
        {"n_features": 2, "drop": ("kind",)},
        InputError,
        "the file has 4 columns, 3 without the target's ('kind'). If",
    ),
    "too few": (
        "1\n2\n",
        {"n_features": 2},
        InputError,
        "the model takes 2 feature columns; the file has 1.",
    ),
    "too many": (
        "1,2,3\n",
        {"feature_names": ("a", "b")},
        InputError,
        "the model takes 2 feature columns; the file has 3. If it holds the target too, remove",
    ),
    "text": ("a,b\n1,x\n", {}, InputError, "line 2, column 'b': a feature must be a number"),
    "nan": ("1,nan\n", {}, InputError, "a feature must be finite; got nan"),
    "empty": ("", {}, InputError, "the file is empty"),
    "header only": ("a,b\n", {}, InputError, "a header but no row"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named(write, case: str) -> None:
    text, options, error, message = BAD[case]
    with pytest.raises(error, match=re.escape(message)) as caught:
        read_features(write(text), **options)
    assert isinstance(caught.value, FlagstoneError)
    assert caught.value.exit_code == 2
    assert "rows.csv" in str(caught.value)


def test_a_target_column_of_text_is_not_read(write) -> None:
    path = write("a,kind,b\n1,,2\n3,,4\n")
    np.testing.assert_array_equal(read_features(path, feature_names=("a", "b")), ROWS)


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "\ufeffa,b\r\n1,2\r\n3,4\r\n"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    raw = io.BytesIO(text.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="ascii"))
    np.testing.assert_array_equal(read_features("-", n_features=2), ROWS)
    assert not raw.closed


def test_standard_input_that_is_only_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1,2\n3,x\n"))
    with pytest.raises(InputError, match=r"^standard input, line 2, column 1"):
        read_features("-")


def test_files_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.csv: no such file"):
        read_features(tmp_path / "missing.csv")
    other = tmp_path / "rows.txt"
    other.write_text("1,2\n")
    with pytest.raises(InputError, match=r"the extension \.txt is not supported"):
        read_features(other)


def test_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    images = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    np.savez(path, images=images)
    X = read_features(path, n_features=8)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, images)
    with pytest.raises(InputError, match="the model takes 7 values a row; the array has 8"):
        read_features(path, n_features=7)
    np.savez(path, X=np.array([[1.0, np.inf]]))
    with pytest.raises(InputError, match="row 0: every value must be finite"):
        read_features(path)
    np.savez(path, X=np.array([["a"]]))
    with pytest.raises(InputError, match="expected an array of numbers with rows"):
        read_features(path)


@pytest.mark.parametrize(
    ("text", "drop", "told"),
    [
        ("1,2,9\n3,4,9\n", (-1,), "column 2 was ignored as the target"),
        ("9,1,2,9\n9,3,4,9\n", (0, 3), "columns 0, 3 were ignored as the target"),
        ("1,2\n3,4\n", (-1,), None),
        ("a,b,kind\n1,2,9\n3,4,9\n", ("kind", -1), None),
    ],
)
def test_what_is_passed_over_by_its_place_is_told(
    write, text: str, drop: tuple, told: str | None
) -> None:
    notes: list[str] = []
    X = read_features(write(text), n_features=2, drop=drop, note=notes.append)
    np.testing.assert_array_equal(X, ROWS)
    assert len(notes) == (told is not None)
    if told is not None:
        assert told in notes[0]


def test_images_by_file_name_and_one_alone(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    for name, one in zip(("b.png", "a.png"), pixels, strict=True):
        image.fromarray(one).save(tmp_path / name)
    found = read_features(tmp_path)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, pixels[::-1])
    np.testing.assert_array_equal(read_features(tmp_path / "b.png"), pixels[:1])


def test_a_folder_without_images_names_its_sub_folders(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    with pytest.raises(InputError, match=r"no images in this folder$"):
        read_features(tmp_path)
    for name in ("dark", "light"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"give one of its sub-folders: dark, light$"):
        read_features(tmp_path)
