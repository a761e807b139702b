"""Image sets: found on disk, or fetched over a network that these tests play themselves."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import struct
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from flagstone.data import load
from flagstone.errors import InputError, UnavailableError
from flagstone_datasets import images
from flagstone_datasets.downloads import RemoteFile, fetch

CONTENT = b"four score and seven"
PACKED = gzip.compress(CONTENT, mtime=0)
PLAIN = RemoteFile("file.gz", hashlib.sha256(PACKED).hexdigest())
UNPACKED = RemoteFile("file.gz", hashlib.sha256(CONTENT).hexdigest(), unpacked=True)
MIRRORS = ("https://one.example/data/", "https://two.example/")


class Network:
    """Answers to URLs; a URL that has none is not found."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Exception] = {}
        self.asked: list[str] = []

    def urlopen(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:
        assert timeout > 0
        self.asked.append(request.full_url)
        answer = self.answers.get(request.full_url, urllib.error.URLError("not found"))
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    played = Network()
    monkeypatch.setattr(urllib.request, "urlopen", played.urlopen)
    return played


@pytest.mark.parametrize("file", [PLAIN, UNPACKED], ids=["plain", "unpacked"])
def test_a_file_is_fetched_once(cache: Path, network: Network, file: RemoteFile) -> None:
    network.answers[MIRRORS[0] + "file.gz"] = PACKED
    assert fetch("toy", [file], MIRRORS) == cache / "toy"
    assert fetch("toy", [file], MIRRORS) == cache / "toy"
    assert network.asked == [MIRRORS[0] + "file.gz"]
    assert (cache / "toy" / "file.gz").read_bytes() == PACKED
    assert [path.name for path in (cache / "toy").iterdir()] == ["file.gz"]


@pytest.mark.parametrize(
    "answer",
    [
        urllib.error.URLError("timed out"),
        TimeoutError("timed out"),
        http.client.IncompleteRead(b""),
        PACKED[:-9],
        b"<html>please log in</html>",
        gzip.compress(b"another file"),
        b"",
    ],
    ids=["refused", "late", "cut off", "cut short", "a page", "another file", "nothing"],
)
@pytest.mark.parametrize("file", [PLAIN, UNPACKED], ids=["plain", "unpacked"])
def test_the_next_mirror_is_asked(
    cache: Path, network: Network, file: RemoteFile, answer: bytes | Exception
) -> None:
    network.answers = {MIRRORS[0] + "file.gz": answer, MIRRORS[1] + "file.gz": PACKED}
    fetch("toy", [file], MIRRORS)
    assert (cache / "toy" / "file.gz").read_bytes() == PACKED
    assert [path.name for path in (cache / "toy").iterdir()] == ["file.gz"]


def test_a_wrong_file_never_gets_its_name(cache: Path, network: Network) -> None:
    for mirror in MIRRORS:
        network.answers[mirror + "file.gz"] = gzip.compress(b"tampered")
    with pytest.raises(UnavailableError, match=r"SHA-256 \w{12}\.\.\. is not the expected"):
        fetch("toy", [PLAIN], MIRRORS)
    assert not list((cache / "toy").iterdir())


@pytest.mark.usefixtures("offline")
def test_offline_says_what_to_put_where(cache: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        load("mnist")
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert "\n" not in message
    assert "ossci-datasets.s3.amazonaws.com: no route to host" in message
    assert "storage.googleapis.com: no route to host" in message
    for file in images.MNIST_FILES:
        assert file.name in message
    assert message.endswith(f"into $FLAGSTONE_DATA/mnist or {cache / 'mnist'}")


@pytest.mark.usefixtures("offline")
def test_a_cache_that_cannot_be_made(cache: Path) -> None:
    cache.write_text("a file where the directory should be")
    with pytest.raises(UnavailableError, match=r"the cache directory .* cannot be made"):
        load("mnist")


def test_every_file_is_pinned_and_served_over_https() -> None:
    for file in (*images.MNIST_FILES, *images.FASHION_FILES, *images.CIFAR10_FILES):
        assert len(bytes.fromhex(file.sha256)) == 32
    for mirror in (*images.MNIST_MIRRORS, *images.FASHION_MIRRORS, *images.CIFAR10_MIRRORS):
        assert mirror.startswith("https://")
        assert mirror.endswith("/")


# ---- MNIST itself ----


@pytest.mark.data
def test_mnist(data_home: Path, offline: None) -> None:
    dataset = load("mnist")
    assert (dataset.name, dataset.task) == ("mnist", "classification")
    assert dataset.X.shape == (60000, 28, 28)
    assert dataset.X.dtype == np.uint8
    assert dataset.X_test is not None
    assert dataset.y_test is not None
    assert dataset.X_test.shape == (10000, 28, 28)
    # counts published with the files, and the first labels of each
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.y).tolist() == counts
    assert dataset.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.y_test[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.data
def test_mnists_digests_are_those_of_the_files(data_home: Path) -> None:
    md5 = {  # of the unpacked files, as published
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    for file in images.MNIST_FILES:
        packed = data_home / "mnist" / file.name
        if not packed.is_file():
            pytest.skip(f"{packed} is not there; MNIST lies here in another form")
        content = gzip.decompress(packed.read_bytes())
        published = md5[file.name.removesuffix(".gz")]
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == published
        assert hashlib.sha256(content).hexdigest() == file.sha256


@pytest.mark.data
def test_mnist_by_way_of_the_network(data_home: Path, cache: Path, network: Network) -> None:
    for file in images.MNIST_FILES:
        packed = data_home / "mnist" / file.name
        if not packed.is_file():
            pytest.skip(f"{packed} is not there; MNIST lies here in another form")
        network.answers[images.MNIST_MIRRORS[1] + file.name] = packed.read_bytes()
    assert load("mnist").X.shape == (60000, 28, 28)
    assert len(network.asked) == 8  # each file of the first mirror in vain, then of the second
    assert load("mnist").X.shape == (60000, 28, 28)
    assert len(network.asked) == 8


# ---- Fashion-MNIST and CIFAR-10, in miniature ----


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.mark.usefixtures("offline")
def test_fashion_mnist_from_flagstone_data(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "fashion-mnist").mkdir(parents=True)
    monkeypatch.setenv("FLAGSTONE_DATA", str(home))
    with pytest.raises(UnavailableError, match=f"into {home}/fashion-mnist or"):
        load("fashion-mnist")  # the directory is empty
    for split in ("train", "t10k"):
        folder = home / "fashion-mnist"
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx(np.ones((4, 2, 2), np.uint8)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(4, dtype=np.uint8)))
    assert load("fashion-mnist").X.shape == (4, 2, 2)
    for file in (home / "fashion-mnist").glob("t10k*"):
        file.unlink()
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte are"):
        load("fashion-mnist")


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, bytes]]:
    """``$FLAGSTONE_DATA/cifar10``, still empty, and six batches of two images."""
    folder = tmp_path / "home" / "cifar10"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FLAGSTONE_DATA", str(folder.parent))
    batches = {}
    for k, name in enumerate((*images.CIFAR10_TRAINING, images.CIFAR10_TEST)):
        image = np.zeros((3, 32, 32), dtype=np.uint8)  # planes of red, green, blue
        image[0], image[1], image[2] = k, 10 + k, 20 + k
        image[:, 0, 1] = 99  # the top row's second pixel
        batches[name] = (bytes([k]) + image.tobytes()) * 2
    return folder, batches


def check_cifar() -> None:
    dataset = load("cifar10")
    assert dataset.X.shape == (10, 32, 32, 3)
    assert dataset.X.dtype == np.uint8
    assert dataset.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert dataset.X[3, 5, 7].tolist() == [1, 11, 21]
    assert dataset.X[3, 0, 1].tolist() == [99, 99, 99]
    assert dataset.X_test is not None
    assert dataset.X_test.shape == (2, 32, 32, 3)
    assert dataset.X_test[0, 31, 31].tolist() == [5, 15, 25]


@pytest.mark.usefixtures("offline")
def test_cifar10_unpacked(cifar: tuple[Path, dict[str, bytes]]) -> None:
    folder, batches = cifar
    for name, content in batches.items():
        (folder / name).write_bytes(content)
    check_cifar()
    (folder / "data_batch_4.bin").write_bytes(b"short")
    with pytest.raises(InputError, match=r"data_batch_4\.bin must be a whole number of records"):
        load("cifar10")
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(InputError, match=r"data_batch_4\.bin is missing; put cifar-10-binary"):
        load("cifar10")


@pytest.mark.usefixtures("offline")
def test_cifar10_from_its_archive(cifar: tuple[Path, dict[str, bytes]]) -> None:
    folder, batches = cifar
    archive = folder / "cifar-10-binary.tar.gz"

    def pack(names: list[str]) -> None:
        with tarfile.open(archive, "w:gz") as tar:
            for name in names:
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(batches[name])
                tar.addfile(member, io.BytesIO(batches[name]))

    pack(list(batches))
    check_cifar()
    pack(list(batches)[:4])
    with pytest.raises(InputError, match=r"data_batch_5\.bin is missing in the archive"):
        load("cifar10")
    pack(list(batches))
    archive.write_bytes(archive.read_bytes()[:-100])  # tar may take a cut for the archive's end
    with pytest.raises(InputError, match=r"tar\.gz: (not a readable archive|.* is missing)"):
        load("cifar10")
    archive.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"tar\.gz: not a readable archive"):
        load("cifar10")
