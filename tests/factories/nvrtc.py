"""NVIDIA's compiler without a GPU: NVRTC of the nvidia-cuda-nvrtc wheel, through ctypes."""

from __future__ import annotations

import ctypes
import functools
from importlib import metadata
from pathlib import Path

WHEEL = "nvidia-cuda-nvrtc"


@functools.cache
def loaded():
    """Return NVRTC, or None without the wheel."""
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    found = [file for file in files if file.name.startswith("libnvrtc.so")]
    return ctypes.CDLL(str(Path(found[0].locate()))) if found else None


def compile_source(text, name, options):
    """Return (whether it compiled, what the compiler said)."""
    nvrtc = loaded()
    program = ctypes.c_void_p()
    made = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), name.encode(), 0, None, None
    )
    assert made == 0
    words = [option.encode() for option in options]
    status = nvrtc.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    said = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, said)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status == 0, said.value.decode(errors="replace").strip()
