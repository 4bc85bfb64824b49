"""Compile the CUDA sources of `kernels/` once per process, specialised by macros."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import cupy

log = logging.getLogger(__name__)

KERNELS = Path(str(resources.files("relion_mpi.backend.gpu") / "kernels"))
"""Folder of the `.cu` sources and of the `.cuh` headers they include."""

_NO_MACROS: Mapping[str, str | int] = MappingProxyType({})


def kernels(name: str, macros: Mapping[str, str | int] = _NO_MACROS) -> cupy.RawModule:
    """Compile `kernels/NAME.cu` for the current device, or return what was compiled before.

    Parameters
    ----------
    name
        File name without `.cu`.
    macros
        Name and value of each macro; one of the sets in the file's `// variants:` line, so that
        the tests compile it too.

    Returns
    -------
    cupy.RawModule
        The compiled module; CuPy also keeps it on disk (CUPY_CACHE_DIR).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    cupy.cuda.compiler.CompileException
        With the compiler's messages; they name the line of the `.cu` file.
    """
    return _module(name, tuple(sorted(macros.items())))


def kernel(name: str, function: str, macros: Mapping[str, str | int] = _NO_MACROS) -> Any:
    """Return a function of `kernels/NAME.cu`, compiled for the current device.

    Parameters
    ----------
    name
        File name without `.cu`.
    function
        Name of an `extern "C" __global__` function in it.
    macros
        As for `kernels`.

    Returns
    -------
    cupy.RawKernel
        Call it with (grid, block, arguments).
    """
    return _function(name, function, tuple(sorted(macros.items())))


def sources() -> list[Path]:
    """Return the CUDA sources that are compiled, in order of name.

    Returns
    -------
    list of Path
        Every `.cu` file; headers are left out.
    """
    return sorted(KERNELS.glob("*.cu"))


def source_text(path: Path) -> str:
    """Return what the compiler is given for a source.

    CuPy's cache on disk knows the text of the source but not of the headers it includes: their
    digest is part of the text, so that a changed header is compiled again.

    Parameters
    ----------
    path
        A `.cu` file.

    Returns
    -------
    str
        A digest of the headers, a `#line` so that messages name the file, and the file.
    """
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256()
    for header in sorted(path.parent.glob("*.cuh")):
        digest.update(header.name.encode() + b"\0" + header.read_bytes() + b"\0")
    quoted = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'// headers {digest.hexdigest()}\n#line 1 "{quoted}"\n{text}'


def compile_options(macros: Mapping[str, str | int], folder: Path = KERNELS) -> tuple[str, ...]:
    """Return the compiler's options; fast-math is never among them.

    Parameters
    ----------
    macros
        Name and value of each macro.
    folder
        Where headers are.

    Returns
    -------
    tuple of str
        Options in an order that depends on the names only.
    """
    defined = tuple(f"-D{name}={value}" for name, value in sorted(macros.items()))
    return ("-std=c++17", f"-I{folder}", *defined)


# CuPy loads a module on each device when its functions are asked for; the text is compiled once.
@cache
def _module(name: str, macros: tuple[tuple[str, str | int], ...]) -> Any:
    import cupy

    path = KERNELS / f"{name}.cu"
    options = compile_options(dict(macros))
    log.debug("Compiling %s with %s", path.name, " ".join(options))
    return cupy.RawModule(code=source_text(path), options=options, backend="nvrtc")


@cache
def _function(name: str, function: str, macros: tuple[tuple[str, str | int], ...]) -> Any:
    return _module(name, macros).get_function(function)
