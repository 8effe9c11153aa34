"""A file for HDF5 to write into that a full disk does not turn into a crash."""

from __future__ import annotations

import io
from typing import Any


class PatientFile(io.FileIO):
    """A file whose first error of writing is kept until `raise_failure` is called.

    HDF5 ends the process with a segmentation fault when it closes a file that it could not write. It is told that
    all went well, and whoever handed it the file asks afterwards.

    Parameters
    ----------
    path
        The file to create, or to empty.
    """

    def __init__(self, path: Any) -> None:
        super().__init__(path, "w+b")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes of `data`, unless writing failed before; return their number either way."""
        rest = memoryview(data).cast("B")
        try:
            while len(rest) and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes

    def raise_failure(self) -> None:
        """Raise what went wrong, if anything did.

        Raises
        ------
        OSError
            The first error of writing.
        """
        if self.failure is not None:
            raise self.failure
