"""A file whose writes never fail while somebody who cannot bear it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import io


class LateErrors:
    """Keep the first error of writing for later, and take no more from then on.

    HDF5 keeps what a full disk has refused, tries again whenever Python lets go of the file, fails
    there, and may crash the process at its end.

    Parameters
    ----------
    file
        Unbuffered, open for reading and writing.

    Attributes
    ----------
    error : what stopped the writing; None so far
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all, or pretend to."""
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):
            try:
                done += self._file.write(view[done:]) or 0
            except OSError as error:
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Change the length, or pretend to."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def read(self, size: int = -1) -> bytes:
        """Read; h5py knows a file by this."""
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        """Read; what was not written is 0."""
        view = memoryview(buffer).cast("B")
        n = self._file.readinto(view) or 0
        if self.error is not None:
            view[n:] = bytes(len(view) - n)
            return len(view)
        return n

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: there is no buffer."""
