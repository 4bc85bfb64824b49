"""Page-lock host memory that others allocated, so that the GPU copies from where it lies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

# cudaHostRegisterPortable; CuPy has no name for it.
_PORTABLE = 1
_ALREADY_REGISTERED = 712
_NOT_REGISTERED = 713


class PinnedMemory:
    """Registered pieces of host memory; made in the thread whose current device is to use them.

    Copies from memory that could not be registered are slower and give the same bytes, so a failure
    is told once and then nothing more is registered.
    """

    def __init__(self) -> None:
        # A thread starts with device 0 as its current one, whatever this rank was bound to.
        import cupy

        self._cuda = cupy.cuda
        self._device = int(cupy.cuda.Device().id)
        self._pieces: dict[int, NDArray[Any]] = {}
        self._has_failed = False

    @property
    def n_bytes(self) -> int:
        """Bytes that are registered."""
        return sum(piece.nbytes for piece in self._pieces.values())

    def pin(self, array: NDArray[Any]) -> None:
        """Register an array; from any thread.

        Parameters
        ----------
        array
            Contiguous; whole pages that no other registered array touches. It is kept until
            `unpin_all`.
        """
        address = int(array.ctypes.data)
        if self._has_failed or array.nbytes == 0 or address in self._pieces:
            return
        try:
            with self._cuda.Device(self._device):
                self._cuda.runtime.hostRegister(address, array.nbytes, _PORTABLE)
        except self._cuda.runtime.CUDARuntimeError as error:
            if error.status == _ALREADY_REGISTERED:
                return
            self._has_failed = True
            log.warning(
                "%.2f GiB of images cannot be page-locked (%s) after %.2f GiB: copies to the GPU "
                "will be slower; `ulimit -l` may say why",
                array.nbytes / 2**30, error, self.n_bytes / 2**30,
            )  # fmt: skip
            return
        self._pieces[address] = array

    def unpin_all(self) -> None:
        """Take back all that was registered, before the memory is freed."""
        with self._cuda.Device(self._device):
            self._cuda.runtime.deviceSynchronize()
            while self._pieces:
                address, _ = self._pieces.popitem()
                try:
                    self._cuda.runtime.hostUnregister(address)
                except self._cuda.runtime.CUDARuntimeError as error:
                    if error.status != _NOT_REGISTERED:
                        log.warning("page-locked memory is not given back (%s)", error)
