"""What is remembered of each kept document, on disk.

A digest, the split, and for near duplicates a signature and the band keys. Appended batch by batch
in document order, one file a field, so that memory does not grow with the corpus.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from jaxtyping import Bool, UInt32, UInt64
from numpy import ndarray


@dataclass(frozen=True)
class RecordArrays:
    """The records of one batch of documents; signatures have no columns where they are off."""

    digests: UInt64[ndarray, "n 2"]
    is_validation: Bool[ndarray, "n"]
    signatures: UInt32[ndarray, "n perms"]
    band_keys: UInt64[ndarray, "bands n"]


class RecordFiles:
    """The record files of a folder: paths, memory maps, and appending."""

    def __init__(self, folder: Path, *, num_permutations: int, num_bands: int) -> None:
        self.folder = folder
        self.num_permutations = num_permutations
        self.num_bands = num_bands
        self.content = ""  # a short hash of what was appended
        self.digest_keys = folder / "digest-keys.bin"
        self._digests = folder / "digests.bin"
        self._splits = folder / "splits.bin"
        self._signatures = folder / "signatures.bin"

    def band(self, number: int) -> Path:
        """The file with every document's key in one band."""
        return self.folder / f"band-{number:03d}.bin"

    @contextmanager
    def appending(self) -> Iterator["RecordWriter"]:
        """Open the files to append to them."""
        with ExitStack() as stack:
            paths = [self.digest_keys, self._digests, self._splits, self._signatures]
            paths += [self.band(number) for number in range(self.num_bands)]
            writer = RecordWriter([stack.enter_context(path.open("wb")) for path in paths])
            yield writer
            self.content = writer.digest.hexdigest()[:16]

    def digests(self) -> UInt64[ndarray, "n 2"]:
        """Both halves of the digest of every document."""
        return _mapped(self._digests, np.uint64).reshape(-1, 2)

    def signatures(self) -> UInt32[ndarray, "n perms"]:
        """The MinHash signature of every document."""
        return _mapped(self._signatures, np.uint32).reshape(-1, self.num_permutations)

    def is_validation(self) -> Bool[ndarray, "n"]:
        """Whether each document goes to validation; may be written to."""
        return _mapped(self._splits, np.dtype(bool), "r+")


class RecordWriter:
    """Appends batches to the open record files."""

    def __init__(self, streams: list[BinaryIO]) -> None:
        self._streams = streams
        self.digest = sha256()
        self.count = 0

    def append(self, records: RecordArrays) -> None:
        """Append the records of one batch."""
        arrays = [
            records.digests[:, 0],
            records.digests,
            records.is_validation,
            records.signatures,
            *records.band_keys,
        ]
        for stream, array in zip(self._streams, arrays, strict=True):
            content = np.ascontiguousarray(array).tobytes()
            self.digest.update(content)
            stream.write(content)
        self.count += len(records.digests)


def _mapped(path: Path, dtype: type | np.dtype, mode: Literal["r", "r+"] = "r") -> ndarray:
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode)
