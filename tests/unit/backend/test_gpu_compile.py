"""The CUDA sources compile, on a machine without a GPU too."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from factories import nvrtc

from relion_mpi.backend.gpu import compile as gpu_compile

ARCHITECTURES = ("sm_80", "sm_90")
needs_nvrtc = pytest.mark.skipif(
    nvrtc.loaded() is None, reason=f"{nvrtc.WHEEL} is not installed (pip install '.[test]')"
)


def variants(text):
    """Return the macro sets of the line `// variants: A=1,B=2 ; A=2,B=2`."""
    found = re.search(r"^// variants:(.*)$", text, re.MULTILINE)
    if found is None:
        return []
    return [
        dict(pair.strip().split("=") for pair in one.split(",") if pair.strip())
        for one in found.group(1).split(";")
    ]


def cases():
    for path in gpu_compile.sources():
        for macros in variants(path.read_text(encoding="utf-8")):
            said = ",".join(f"{name}={value}" for name, value in macros.items())
            for architecture in ARCHITECTURES:
                yield pytest.param(
                    path, macros, architecture, id=f"{path.stem}-{said}-{architecture}"
                )


def compiled(path, macros, architecture):
    options = gpu_compile.compile_options(macros, path.parent)
    text = gpu_compile.source_text(path)
    return nvrtc.compile_source(text, path.name, (*options, f"-arch={architecture}"))


def test_there_are_sources():
    assert gpu_compile.sources()


def test_every_source_declares_its_variants():
    sources = gpu_compile.sources()
    assert [path.name for path in sources if not variants(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", ["accumulate", "fine", "project", "reference"])
def test_planes_come_in_every_arithmetic_that_volumes_come_in(name):
    found = variants((gpu_compile.KERNELS / f"{name}.cu").read_text(encoding="utf-8"))
    kinds = {
        plane: {(one["DOUBLE"], one.get("EXACT")) for one in found if ("PLANAR" in one) == plane}
        for plane in (False, True)
    }
    assert kinds[True] == kinds[False]
    assert not any("TEXTURE" in one for one in found if "PLANAR" in one)


def test_variants_are_read():
    text = "// A kernel.\n// variants: A=1,B=2 ; A=2, B=x\n"
    assert variants(text) == [{"A": "1", "B": "2"}, {"A": "2", "B": "x"}]


@needs_nvrtc
@pytest.mark.parametrize(("path", "macros", "architecture"), list(cases()))
def test_every_variant_compiles_without_a_word(path, macros, architecture):
    good, said = compiled(path, macros, architecture)
    assert good, said
    assert said == ""


@needs_nvrtc
def test_a_mistake_is_told_with_file_and_line(tmp_path):
    path = tmp_path / "broken.cu"
    path.write_text("// variants: A=1\n__global__ void f() {\n    nonsense();\n}\n")
    good, said = compiled(path, {"A": 1}, "sm_80")
    assert not good
    assert f"{path}(3): error" in said


@needs_nvrtc
def test_a_mistake_in_a_header_is_told_with_file_and_line(tmp_path):
    (tmp_path / "part.cuh").write_text("\n#if A == 2\n#error no such variant\n#endif\n")
    path = tmp_path / "whole.cu"
    path.write_text('#include "part.cuh"\n__global__ void f() {}\n')
    assert compiled(path, {"A": 1}, "sm_80")[0]
    good, said = compiled(path, {"A": 2}, "sm_80")
    assert not good
    assert f"{tmp_path / 'part.cuh'}(3): " in said


def test_a_changed_header_changes_what_is_compiled(tmp_path):
    path, header = tmp_path / "whole.cu", tmp_path / "part.cuh"
    path.write_text('#include "part.cuh"\n')
    header.write_text("// one\n")
    before = gpu_compile.source_text(path)
    assert gpu_compile.source_text(path) == before
    header.write_text("// two\n")
    assert gpu_compile.source_text(path) != before


def test_options_depend_on_the_macros_and_not_on_their_order():
    one = gpu_compile.compile_options({"B": 2, "A": "float"})
    assert one == gpu_compile.compile_options({"A": "float", "B": 2})
    assert one[-2:] == ("-DA=float", "-DB=2")
    assert not any("fast" in word for word in one)


def test_every_kernel_that_is_asked_for_is_in_its_source():
    asked = set()
    for path in gpu_compile.KERNELS.parent.glob("*.py"):
        asked |= set(re.findall(r'kernel\(\s*"(\w+)",\s*"(\w+)"', path.read_text(encoding="utf-8")))
    there = {
        (path.stem, name)
        for path in gpu_compile.sources()
        for name in re.findall(
            r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\(',
            path.read_text(encoding="utf-8"),
        )
    }
    assert asked
    assert sorted(asked - there) == []


def test_importing_the_modules_needs_no_cupy():
    program = (
        "import sys; sys.modules['cupy'] = None\n"
        "from relion_mpi.backend.gpu import compile, device\n"
        "assert device.n_devices() == 0\n"
        "assert 'cuda13' in device.why_no_device()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
