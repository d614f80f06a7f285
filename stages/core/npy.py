"""Write a one-dimensional .npy file piece by piece, its length known only at the end."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

_HEADER_BYTES = 512


class NpyWriter:
    """A growing .npy file; use as a context manager. `np.load` reads it, memory-mapped too."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._stream = path.open("wb")
        self._stream.write(b"\0" * _HEADER_BYTES)
        self.length = 0

    def append(self, values: Shaped[ndarray, "n"]) -> None:
        """Append values, converted to the file's type."""
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        self.length += len(values)

    def __enter__(self) -> "NpyWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stream:
            if kind is None:
                self._stream.seek(0)
                self._stream.write(self._header())

    def _header(self) -> bytes:
        """A version 1.0 header padded with spaces to the reserved size (numpy's format.py)."""
        description = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.length,),
        }
        magic = np.lib.format.magic(1, 0)
        room = _HEADER_BYTES - len(magic) - 2
        text = repr(description).ljust(room - 1).encode() + b"\n"
        assert len(text) == room, "the header's reserved room is too small for this type"
        return magic + room.to_bytes(2, "little") + text
