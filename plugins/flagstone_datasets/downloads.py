"""Fetching files over HTTPS into the cache: checked before they get their name."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import logging
import os
import tempfile
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flagstone.errors import ChecksumError, UnavailableError
from flagstone_datasets.places import VARIABLE, cache_directory, data_directory

TIMEOUT = 30.0  # seconds without a byte before a mirror is given up
CHUNK = 1 << 20

logger = logging.getLogger("flagstone")


@dataclass(frozen=True)
class RemoteFile:
    """A file that mirrors serve.

    ``sha256`` is the digest of the file; of its unpacked content when ``unpacked`` is set, which
    is what mirrors agree on where they have compressed a file anew.
    """

    name: str
    sha256: str
    unpacked: bool = False


def fetch(dataset: str, files: Sequence[RemoteFile], mirrors: Sequence[str]) -> Path:
    """The cache directory of ``dataset`` with every one of ``files`` in it.

    What is there already is used: a file gets its name only after its digest was found right.
    Mirrors are URLs that end in ``/``, tried in order.

    Raises:
        UnavailableError: a file could not be had from any mirror. The message gives each mirror's
            reason and says which files to put where.
    """
    directory = cache_directory() / dataset
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            f"dataset {dataset}: the cache directory {directory} cannot be made: {error.strerror}"
        ) from error
    for file in files:
        if not (directory / file.name).is_file():
            _fetch_one(dataset, file, files, mirrors, directory)
    return directory


def _fetch_one(
    dataset: str,
    file: RemoteFile,
    files: Sequence[RemoteFile],
    mirrors: Sequence[str],
    directory: Path,
) -> None:
    reasons = []
    for mirror in mirrors:
        try:
            _download(mirror + file.name, file, directory)
        except (OSError, http.client.HTTPException, EOFError, zlib.error, ChecksumError) as error:
            host = mirror.split("/")[2]
            reasons.append(f"{host}: {getattr(error, 'reason', None) or error}")
        else:
            return
    names = ", ".join(wanted.name for wanted in files)
    home = data_directory()
    place = f"${VARIABLE}/{dataset}" if home is None else str(home / dataset)
    raise UnavailableError(
        f"dataset {dataset}: {file.name} could not be downloaded ({'; '.join(reasons)}). "
        f"Offline, put {names} into {place} or {directory}"
    )


def _download(url: str, file: RemoteFile, directory: Path) -> None:
    logger.info("downloading %s", url)
    request = urllib.request.Request(url, headers={"User-Agent": "flagstone"})
    handle, partial = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=directory)
    try:
        with (
            os.fdopen(handle, "wb") as target,
            urllib.request.urlopen(request, timeout=TIMEOUT) as response,
        ):
            while chunk := response.read(CHUNK):
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        found = _digest(Path(partial), file.unpacked)
        if found != file.sha256:
            raise ChecksumError(
                f"{url}: SHA-256 {found[:12]}... is not the expected {file.sha256[:12]}..."
            )
        Path(partial).replace(directory / file.name)
    finally:
        Path(partial).unlink(missing_ok=True)


def _digest(path: Path, unpacked: bool) -> str:
    with gzip.open(path) if unpacked else path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
