"""The other kinds of files: archives, IDX, Parquet, folders of images, and what is none of them."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from flagstone.data import load, read_features, read_idx
from flagstone.errors import (
    ConfigurationError,
    InputError,
    UnavailableError,
    UnknownNameError,
)

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def idx_bytes(array: np.ndarray, code: int) -> bytes:
    """The IDX file of an array, written field by field from the format's description."""
    header = bytes([0, 0, code, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


# ---- .npz ----


@pytest.mark.parametrize(
    "names",
    [
        ("X", "y", "X_test", "y_test"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("x", "y", "x_test", "y_test"),
    ],
)
def test_an_archive_under_every_naming(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "toy.npz"
    np.savez(path, **dict(zip(names, (X, Y, X[:2], Y[:2]), strict=True)))
    dataset = load(path)
    assert (dataset.name, dataset.task) == ("toy", "classification")
    for got, expected in ((dataset.X, X), (dataset.y, Y), (dataset.X_test, X[:2])):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(dataset.y_test, Y[:2])
    np.savez(path, **dict(zip(names[:2], (X, Y), strict=True)))
    assert load(path).X_test is None
    np.testing.assert_array_equal(read_features(path), X)


def test_the_target_array_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "toy.npz"
    np.savez(path, X=X, y=Y, heights=X[:, 0] / 7)
    assert load(path, target="heights").task == "regression"
    with pytest.raises(UnknownNameError, match=r"Did you mean 'heights'\?"):
        load(path, target="height")


ARCHIVES = {
    "no X": (
        {"y": Y},
        "expected arrays named X and y (or x_train, y_train, x_test, y_test); has y",
    ),
    "no y": ({"X": X, "z": Y}, "the archive has X but no y; it has X, z"),
    "half a test split": ({"X": X, "y": Y, "X_test": X}, "needs X_test and y_test; y_test is mis"),
    "objects": ({"X": X, "y": np.array([{}] * 6)}, "holds Python objects, which flagstone never"),
    "lengths": ({"X": X, "y": Y[:3]}, "y must have one entry for each of the 6 rows of X"),
    "nan": ({"X": X * np.nan, "y": Y}, "X must be finite; X[0, 0] is nan"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_bad_archive_is_refused(tmp_path: Path, case: str) -> None:
    arrays, message = ARCHIVES[case]
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        load(path)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    good = tmp_path / "good.npz"
    np.savez(good, X=X, y=Y)
    for content in (b"", b"not a zip", good.read_bytes()[:-40], b"PK\x03\x04 and no more"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz: (not a readable|it is no archive)"):
            load(path)
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(InputError, match="a single array, not an archive"):
        load(path)


# ---- IDX ----


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_of_every_type(tmp_path: Path, code: int, dtype: str, packed: bool) -> None:
    array = (np.arange(24).reshape(2, 3, 4) - 5).astype(dtype)
    path = tmp_path / ("file.gz" if packed else "file")
    content = idx_bytes(array, code)
    path.write_bytes(gzip.compress(content) if packed else content)
    got = read_idx(path)
    assert got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, array)


GOOD = idx_bytes(np.zeros((2, 3), dtype=np.uint8), 8)
BROKEN = {
    "no magic": (b"\0\0\x08", "cut short; an IDX file starts with 4 bytes, got 3"),
    "wrong magic": (b"\x01" + GOOD[1:], "expected the magic number 00 00 TYPE AXES, got 01 00 08"),
    "unknown type": (b"\0\0\x0a\x01" + GOOD[4:], "not an IDX file"),
    "gzip without its name": (gzip.compress(GOOD), "It looks gzipped; its name must end in .gz"),
    "short header": (GOOD[:7], "cut short inside its header"),
    "short": (GOOD[:-1], "cut short; its header says 2 x 3 values, 6 bytes, got 5"),
    "long": (GOOD + b"\0", "too long; its header says 2 x 3 values, 6 bytes, got 7"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_idx_file_is_refused(tmp_path: Path, case: str) -> None:
    content, message = BROKEN[case]
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_idx(path)


def test_broken_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.gz"
    packed = gzip.compress(GOOD)
    flipped = bytearray(packed)
    flipped[-6] ^= 1  # the checksum
    for content in (packed[:-10], bytes(flipped), GOOD):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.gz: "):
            read_idx(path)
    with pytest.raises(InputError, match="no such file"):
        read_idx(tmp_path / "missing")


@pytest.fixture
def idx_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "letters"
    directory.mkdir()
    for split, n in (("train", 6), ("t10k", 2)):
        images = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2)
        labels = (np.arange(n) % 2).astype(np.uint8)
        (directory / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(images, 8))
        (directory / f"{split}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(idx_bytes(labels, 8))
        )
    return directory


def test_an_idx_directory(idx_directory: Path) -> None:
    dataset = load(idx_directory)
    assert (dataset.name, dataset.task) == ("letters", "classification")
    assert dataset.X.shape == (6, 2, 2)
    assert dataset.X.dtype == np.uint8
    np.testing.assert_array_equal(dataset.X[1], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(dataset.y, [0, 1, 0, 1, 0, 1])
    assert dataset.X_test is not None
    assert dataset.X_test.shape == (2, 2, 2)
    (idx_directory / "train-images-idx3-ubyte").rename(idx_directory / "train-images.idx3-ubyte")
    np.testing.assert_array_equal(load(idx_directory).X, dataset.X)


def test_an_idx_directory_without_a_test_split(idx_directory: Path) -> None:
    for file in idx_directory.glob("t10k*"):
        file.unlink()
    assert load(idx_directory).X_test is None


@pytest.mark.parametrize("stem", ["train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte"])
def test_an_idx_directory_with_a_file_missing(idx_directory: Path, stem: str) -> None:
    (idx_directory / stem).unlink()
    name = stem.removesuffix(".gz")
    with pytest.raises(InputError, match=rf"letters: {name} \(or {name}\.gz\) is missing"):
        load(idx_directory)


def test_images_and_labels_that_differ_in_number(idx_directory: Path) -> None:
    labels = np.zeros(5, dtype=np.uint8)
    (idx_directory / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels, 8))
    with pytest.raises(InputError, match=r"got \(6, 2, 2\) and \(5,\)"):
        load(idx_directory)


# ---- Parquet ----


def test_parquet_needs_polars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    path = tmp_path / "table.parquet"
    path.write_bytes(b"")
    with pytest.raises(UnavailableError, match=r"pip install 'flagstone\[data\]'") as caught:
        load(path)
    assert caught.value.exit_code == 3


def test_parquet(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="the extra data is not installed")
    path = tmp_path / "table.parquet"
    frame = polars.DataFrame(
        {"a": [1, 2, 3, 4], "b": [0.5, 1.5, 2.5, 3.5], "kind": ["x", "y", "x", "y"]}
    )
    frame.write_parquet(path)
    dataset = load(path)
    assert dataset.feature_names == ("a", "b")
    assert dataset.task == "classification"
    assert dataset.y.tolist() == ["x", "y", "x", "y"]
    np.testing.assert_array_equal(dataset.X, [[1, 0.5], [2, 1.5], [3, 2.5], [4, 3.5]])
    got = read_features(path, feature_names=("b", "a"))
    np.testing.assert_array_equal(got, dataset.X[:, ::-1])

    with pytest.raises(InputError, match="column 'kind': a feature must be a number; the column"):
        load(path, target="a")
    frame.with_columns(b=polars.Series([0.5, None, 1.0, 1.0])).write_parquet(path)
    with pytest.raises(InputError, match=r"table\.parquet, row 1, column 'b': the cell is empty"):
        load(path)
    frame.with_columns(b=polars.Series([0.5, 1.0, float("nan"), 1.0])).write_parquet(path)
    with pytest.raises(InputError, match=r"row 2, column 'b': the cell must be finite; got nan"):
        load(path)
    frame.write_parquet(path)
    with pytest.raises(InputError, match="row 0, column 'kind': a regression target must be"):
        load(path, task="regression")
    frame.head(0).write_parquet(path)
    with pytest.raises(InputError, match="the file is empty"):
        load(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        load(path)


# ---- a folder of images ----


@pytest.fixture
def pictures(tmp_path: Path):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

    def draw(place: str, value: object, size: tuple[int, int] = (3, 2), mode: str = "L") -> None:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.new(mode, size, value).save(path)

    return draw


def test_a_folder_of_images_by_class(tmp_path: Path, pictures) -> None:
    pictures("cat/b.png", 2)
    pictures("cat/a.PNG", 1)
    pictures("dog/a.bmp", 3)
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    dataset = load(tmp_path)
    assert dataset.y.tolist() == ["cat", "cat", "dog"]
    assert dataset.X.shape == (3, 2, 3)  # (n, height, width)
    assert dataset.X.dtype == np.uint8
    assert dataset.X[:, 0, 0].tolist() == [1, 2, 3]
    pictures("dog/b.png", (10, 20, 30), mode="RGB")
    colour = load(tmp_path).X
    assert colour.shape == (4, 2, 3, 3)
    assert colour[:, 1, 2].tolist() == [[1] * 3, [2] * 3, [3] * 3, [10, 20, 30]]


def test_a_folder_of_images_with_a_test_split(tmp_path: Path, pictures) -> None:
    pictures("train/cat/a.png", 1)
    pictures("train/dog/a.png", 2)
    pictures("test/dog/a.png", 3)
    dataset = load(tmp_path)
    assert dataset.y.tolist() == ["cat", "dog"]
    assert dataset.X_test is not None
    assert dataset.y_test is not None
    assert dataset.X_test[:, 0, 0].tolist() == [3]
    assert dataset.y_test.tolist() == ["dog"]


def test_images_that_do_not_fit(tmp_path: Path, pictures) -> None:
    pictures("cat/a.png", 1)
    pictures("dog/a.png", 1, size=(4, 2))
    with pytest.raises(InputError, match=r"dog/a\.png: every image must have one size; this one"):
        load(tmp_path)
    (tmp_path / "dog" / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"dog/a\.png: not a readable image"):
        load(tmp_path)


def test_images_need_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"")
    with pytest.raises(UnavailableError, match="pip install pillow"):
        load(tmp_path)


# ---- names and paths ----


def test_a_registered_dataset() -> None:
    dataset = load("xor")
    assert (dataset.name, dataset.task) == ("xor", "classification")
    assert load("xor", task="regression").task == "regression"
    with pytest.raises(ConfigurationError, match="is for files; the dataset xor has its own"):
        load("xor", target="a")
    with pytest.raises(ConfigurationError, match="line is for regression; it cannot be used for"):
        load("line", task="classification")


def test_an_unknown_name_says_that_a_path_will_do() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load("xorr")
    assert "unknown dataset 'xorr'" in str(caught.value)
    assert "Did you mean 'xor'?" in str(caught.value)
    assert "A path may be given too: a .csv or .parquet table" in str(caught.value)


@pytest.mark.parametrize("source", ["missing.csv", "./missing", "no/such/place", Path("missing")])
def test_a_missing_file(source: str | Path) -> None:
    with pytest.raises(InputError, match=r"(missing|place).*: no such file or directory"):
        load(source)


def test_kinds_that_are_not_supported(tmp_path: Path) -> None:
    for name, message in (("a.xlsx", "the extension .xlsx"), ("a", "a file without an extension")):
        path = tmp_path / name
        path.write_text("1,2\n")
        with pytest.raises(InputError, match=f"{message} is not supported; expected a .csv"):
            load(path)
        path.unlink()
    with pytest.raises(InputError, match="the directory holds neither train-images-idx3-ubyte"):
        load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"is for tables; .* is a directory"):
        load(tmp_path, target="a")
    directory = tmp_path / "b.npz"
    directory.mkdir()
    with pytest.raises(InputError, match="the directory holds neither"):
        load(directory)


@pytest.mark.parametrize("content", [b"", b"PAR1 that is none of it"])
def test_what_is_no_parquet_is_told_once(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("polars", reason="reads by polars, which is not installed")
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not a readable Parquet file: ")
    assert "file: parquet: " not in message
    assert "specification" not in message


@pytest.mark.parametrize("source", [3, None, X])
def test_what_is_neither_a_name_nor_a_path_is_refused(source: object) -> None:
    kind = type(source).__name__
    with pytest.raises(ConfigurationError, match=rf"load: source expected .* path; got {kind}\. "):
        load(source)  # type: ignore[arg-type]  # what is tested
