"""Reading data, and saving and loading models and checkpoints."""

from __future__ import annotations

import importlib
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flagstone.benchmarking.benchmark import Benchmark, NotHere, Run
from flagstone.benchmarking.of_models import model_step

if TYPE_CHECKING:
    from flagstone.backend import Backend

ROWS, COLUMNS = 2000, 20
IMAGES = 2000
PICTURES = 200  # files in a folder of images


def benchmarks() -> Iterator[Benchmark]:
    """Tables, archives and MNIST's format; a checkpoint and a model."""
    yield Benchmark("data/csv", _reading(_csv), on_host=True)
    yield Benchmark("data/npz", _reading(_npz), on_host=True)
    yield Benchmark("data/idx", _reading(_idx), on_host=True)
    yield Benchmark("data/parquet", _reading(_parquet), on_host=True)
    yield Benchmark("data/image-folder", _reading(_image_folder), on_host=True)
    yield Benchmark("checkpoint/save", _checkpoint(loading=False))
    yield Benchmark("checkpoint/load", _checkpoint(loading=True))
    yield Benchmark("model-file/save", _model_file(loading=False))
    yield Benchmark("model-file/load", _model_file(loading=True))


def _folder(owner: Any) -> Path:
    """A temporary folder that goes when ``owner`` does."""
    folder = tempfile.TemporaryDirectory(prefix="flagstone-bench-")
    weakref.finalize(owner, folder.cleanup)
    return Path(folder.name)


def _reading(write: Callable[[Path], Path]) -> Callable[[Backend], Run]:
    def prepare(_: Backend) -> Run:
        from flagstone.data import load

        def run() -> object:
            return load(path)

        path = write(_folder(run))
        return run

    return prepare


def _csv(folder: Path) -> Path:
    path = folder / "table.csv"
    table = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
    labels = np.arange(ROWS) % 3
    lines = [",".join([*(f"x{i}" for i in range(COLUMNS)), "label"])]
    for row, label in zip(table, labels, strict=True):
        lines.append(",".join([*(f"{x:.6g}" for x in row), f"kind {label}"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _npz(folder: Path) -> Path:
    path = folder / "images.npz"
    X, y = _images()
    np.savez(path, X=X, y=y)
    return path


def _idx(folder: Path) -> Path:
    X, y = _images()
    for part in ("train", "t10k"):
        for stem, array in ((f"{part}-images-idx3-ubyte", X), (f"{part}-labels-idx1-ubyte", y)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / stem).write_bytes(header + array.astype("uint8").tobytes())
    return folder


def _parquet(folder: Path) -> Path:
    polars = _needed("polars")
    path = folder / "table.parquet"
    table = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
    columns = {f"x{i}": table[:, i] for i in range(COLUMNS)}
    polars.DataFrame({**columns, "label": np.arange(ROWS) % 3}).write_parquet(path)
    return path


def _image_folder(folder: Path) -> Path:
    pillow = _needed("PIL.Image")
    X, y = _images()
    for i, (x, label) in enumerate(zip(X[:PICTURES], y[:PICTURES], strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        pillow.fromarray(x).save(folder / str(label) / f"{i}.png")
    return folder


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotHere(f"{error}; pip install 'flagstone[data]'") from None


def _images() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, 28, 28), "uint8"), (np.arange(IMAGES) % 10).astype("uint8")


def checkpoint_of(backend: Backend, path: Path) -> tuple[Any, Any, Any]:
    """A run directory under ``path`` with the state (arrays, metadata) of an mlp's trainer."""
    from flagstone.training.run_directory import RunDirectory

    trainer = model_step("mlp", backend).trainer
    return (RunDirectory.create(path, "mlp", {"model": "mlp"}), *trainer.state())


def _checkpoint(loading: bool) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        def save() -> None:
            directory.save_checkpoint(arrays, metadata)

        def load() -> object:
            return directory.load_checkpoint()

        run: Run = load if loading else save
        directory, arrays, metadata = checkpoint_of(backend, _folder(run))
        save()
        return run

    return prepare


def _model_file(loading: bool) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        from flagstone.estimator import load as load_model
        from flagstone.estimator import model

        X, y = _images()
        device = str(backend.device)
        made: Any = model("mlp", epochs=1, device=device)
        fitted = made.fit(X[:200].astype("float32"), y[:200])

        def save() -> None:
            fitted.save(path)

        def load() -> object:
            return load_model(path, device=device)

        run: Run = load if loading else save
        path = _folder(run) / "mlp.safetensors"
        save()
        return run

    return prepare
