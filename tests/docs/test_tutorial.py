"""The tutorial's command lines, and the script that runs them and shows what comes out."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relion_mpi.cli.main import COMMANDS
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star
from relion_mpi.project.commands import COMMANDS as TOLD
from relion_mpi.project.kinds import PROCESSES

DOCS = Path(__file__).parent.parent.parent / "docs"
SAID = (
    "MaskCreate/job001/mask.mrc: 1 voxels at or above the threshold, 93 inside (0.744 nm^3, "
    "2.27 % of the box), edge of 5 pixels"
)
PAGE = f"""# A map

Of *one* voxel; see [masks](maps.md#masks).

```
relion-mpi mask --i map.mrc --o MaskCreate/job001/mask.mrc --ini_threshold 0.5 --lowpass 0
```

This is told:

```
{SAID}
something else
```
"""


@pytest.fixture(scope="module")
def tutorial():
    pytest.importorskip("markdown_it", reason="markdown-it-py comes with the dev extra")
    spec = importlib.util.spec_from_file_location("tutorial", DOCS / "tutorial.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["tutorial"]


@pytest.fixture
def lines(tutorial):
    return tutorial.command_lines(tutorial.fences_of(tutorial.PAGE.read_text(encoding="utf-8")))


def options_of(line):
    words = shlex.split(line.text)[2:]
    module = importlib.import_module(COMMANDS[line.command])
    parser = OptionParser(line.command, module.SUMMARY)
    add_to_parser(parser, module.Options)
    return from_namespace(module.Options, parser.read(getattr(module, "spelt", list)(words)))


def test_the_reader_finds_every_command_line(tutorial, lines):
    text = tutorial.PAGE.read_text(encoding="utf-8")
    typed = [row for row in text.splitlines() if row.startswith("relion-mpi ")]
    assert [line.text for line in lines] == typed
    steps = "autopick extract class2d select refine3d mask postprocess report".split()
    order = [line.command for line in lines]
    first = [order.index(step) for step in steps]
    assert first == sorted(first)


def test_every_command_line_can_be_read(lines):
    for line in lines:
        options_of(line)


def test_jobs_count_up_and_use_what_was_made_before(lines):
    made, last = {"micrographs_ctf.star", "reference.mrc", "coords"}, 0
    for line in lines:
        words = shlex.split(line.text)[2:]
        for word in words:
            top = word.split("/")[0]
            if top in PROCESSES and not word.startswith(line.output or "\0"):
                job = "/".join(word.split("/")[:2])
                assert job in made or line.output.startswith(job), f"{line.text}: {word}"
        if line.output.split("/")[0] in PROCESSES and line.command in TOLD:
            job = "/".join(line.output.split("/")[:2])
            last += 1
            assert job.endswith(f"/job{last:03d}"), line.text
            made.add(job)


def test_a_page_is_run_and_shown_with_its_pictures(tutorial, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    volume = np.zeros((16, 16, 16))
    volume[8, 8, 8] = 1.0
    write_map(data / "map.mrc", volume, 2.0)
    out = tmp_path / "build"
    tutorial.new_project(out / "project", data, data / "map.mrc")
    tutorial.run(tutorial.command_lines(tutorial.fences_of(PAGE)), out / "project", out / "logs")
    graph = read_star(out / "project" / "default_pipeline.star")
    assert graph["pipeline_processes"]["rlnPipeLineProcessName"].to_list() == ["MaskCreate/job001/"]
    text = tutorial.page_html(PAGE, out)
    picture = "pictures/01_mask_mask.slices.png"
    before, after = text.index("--ini_threshold 0.5"), text.index("This is told")
    assert before < text.index(f'src="{picture}"') < after
    with Image.open(out / picture) as shown:
        assert shown.width > 2 * shown.height
    assert "<em>one</em>" in text
    link = re.search(r'href="([^"#]+)#masks"', text)[1]
    assert (out / link).resolve() == (DOCS / "maps.md").resolve()
    # What the page quotes must have been said.
    assert tutorial.not_said(tutorial.fences_of(PAGE), out / "logs") == ["something else"]
    assert text.index("something else") < text.index("<h1>")


def test_a_run_is_not_mixed_with_an_earlier_one(tutorial, tmp_path):
    with pytest.raises(SystemExit, match="found an earlier run"):
        tutorial.new_project(tmp_path, tmp_path, tmp_path)


def test_a_line_that_fails_ends_the_run(tutorial, tmp_path):
    line = tutorial.Line("relion-mpi mask --i nothing.mrc", 1)
    with pytest.raises(SystemExit, match=r"nothing\.mrc.*\n.*ended with status 1"):
        tutorial.run([line], tmp_path, tmp_path / "logs")
