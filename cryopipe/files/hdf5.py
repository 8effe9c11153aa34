"""File object for HDF5 that keeps write errors, because HDF5 crashes on a full disk."""

from __future__ import annotations

import io
from typing import Any


class DeferredErrorFile(io.FileIO):
    """A file whose first write error is kept until `raise_failure` is called.

    HDF5 ends the process with a segmentation fault when it closes a file after a write error. Therefore every write
    reports success to HDF5, and the caller of HDF5 calls `raise_failure` afterwards.

    Parameters
    ----------
    path
        The file to create or to truncate.
    """

    def __init__(self, path: Any) -> None:
        super().__init__(path, "w+b")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes of `data`, unless an earlier write failed; always return their number."""
        rest = memoryview(data).cast("B")
        try:
            while len(rest) and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes

    def raise_failure(self) -> None:
        """Raise the first write error, if there was one.

        Raises
        ------
        OSError
            The first write error.
        """
        if self.failure is not None:
            raise self.failure
