"""What the documentation names exists, and its examples give what they say."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import re
from pathlib import Path

import pytest
from factories import options_page

from relion_mpi.cluster.launch_options import LaunchOptions
from relion_mpi.cluster.submit_options import SubmitOptions
from relion_mpi.compare.options import CompareOptions
from relion_mpi.core.options import declarations
from relion_mpi.doctor.options import DoctorOptions
from relion_mpi.extract.options import ExtractOptions
from relion_mpi.maps.map_options import MapOptions
from relion_mpi.maps.mask_options import MaskOptions
from relion_mpi.picking.options import AutopickOptions
from relion_mpi.picking.score_options import PickScoreOptions
from relion_mpi.postprocess.options import FscOptions, PostprocessOptions
from relion_mpi.project.external import INPUTS
from relion_mpi.project.job import SWITCH
from relion_mpi.reconstruct.options import ReconstructOptions
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.initial_model_options import InitialModelOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.plan_options import PlanOptions
from relion_mpi.refine.relion_options import ROWS
from relion_mpi.report.options import ReportOptions
from relion_mpi.select.options import SelectOptions
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.star.options import StarOptions
from relion_mpi.subtract.options import SubtractOptions
from relion_mpi.validate.options import ValidateOptions

ROOT = Path(__file__).parent.parent.parent
READMES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
PAGES = READMES + sorted((ROOT / "docs").glob("*.md"))
COMMANDS = {
    "Options of refine3d": RefineOptions,
    "Options of simulate": SimulateOptions,
    "Options of extract": ExtractOptions,
    "Options of select": SelectOptions,
    "Options of star": StarOptions,
    "Options of reconstruct": ReconstructOptions,
    "Options of subtract": SubtractOptions,
    "Options of autopick": AutopickOptions,
    "Options of pick-score": PickScoreOptions,
    "Options of mask": MaskOptions,
    "Options of map": MapOptions,
    "Options of compare": CompareOptions,
    "Options of postprocess": PostprocessOptions,
    "Options of fsc": FscOptions,
    "Options of report": ReportOptions,
    "Options of doctor": DoctorOptions,
    "Options of validate": ValidateOptions,
    "Options of plan": PlanOptions,
    "Options of launch": LaunchOptions,
    "Options of submit": SubmitOptions,
}
# Where a command's table is, if not on the page of how to run.
PAGE_OF = {
    "Options of star": "star.md",
    "Options of reconstruct": "particles.md",
    "Options of subtract": "particles.md",
    "Options of extract": "extract.md",
    "Options of autopick": "picking.md",
    "Options of pick-score": "picking.md",
    "Options of mask": "maps.md",
    "Options of map": "maps.md",
    "Options of postprocess": "postprocess.md",
    "Options of fsc": "postprocess.md",
    "Options of launch": "cluster.md",
    "Options of submit": "cluster.md",
    "Options of report": "report.md",
}
# Flags of other programs that commands on the pages use.
FOREIGN = {
    "--account": "sbatch",
    "--array": "sbatch",
    "--bind-to": "mpirun",
    "--compare": "relion_star_handler",
    "--cpus-per-task": "sbatch",
    "--distribution": "srun",
    "--kill-on-bad-exit": "srun",
    "--force-reinstall": "pip",
    "--gpus-per-node": "sbatch",
    "--gres": "sbatch",
    "--host": "mpirun",
    "--map-by": "mpirun",
    "--mpi": "srun",
    "--no-binary": "pip",
    "--ntasks": "srun",
    "--signal": "sbatch",
    "--strict-markers": "pytest",
    "--wait": "srun",
    "--with-ft": "Open MPI's mpiexec",
    "--with-mpi": "pytest-mpi",
}
OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*")
NAME = re.compile(r"\brelion_mpi(?:\.\w+)+")
LINK = re.compile(r"\]\(([^)#]+)\)")
FILE = re.compile(r"`((?:relion_mpi|tests|docs|benchmarks|launch|slurm|\.ci)/[\w./-]*)`?")
OPTION_ROW = re.compile(r"^\| `(--\w+)`(?: / `(--[\w-]+)`)? \| ([^|]+) \|", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def all_flags():
    flags = {"--help", "--version", SWITCH} | set(ROWS) | set(INPUTS)
    for options in [*COMMANDS.values(), Class2DOptions, Class3DOptions]:
        for said in declarations(options).values():
            flags |= {said.flag} | ({said.negate} if said.negate else set())
    return flags


def exists(name):
    """Whether a dotted name is a module or an attribute of one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def default_text(field, said):
    """Write a default as the tables do."""
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in (None, ()):
        return "none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {said.unit}" if said.unit else text


def section(text, title):
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_a_name_that_does_not_exist_is_noticed():
    assert exists("relion_mpi.refine.schedule.Schedule.coarse_size")
    assert not exists("relion_mpi.refine.schedule.Schedule.no_such_method")
    assert not exists("relion_mpi.no_such_package.thing")


@every_page
def test_every_dotted_name_exists(page):
    names = set(NAME.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not exists(name)] == []


@every_page
def test_every_option_exists(page):
    known = all_flags() | {flag.replace("_", "-") for flag in all_flags()} | set(FOREIGN)
    words = set(OPTION.findall(page.read_text(encoding="utf-8")))
    assert sorted(words - known) == []


@every_page
def test_every_link_and_file_exists(page):
    text = page.read_text(encoding="utf-8")
    targets = [page.parent / link for link in LINK.findall(text) if "://" not in link]
    targets += [ROOT / name for name in FILE.findall(text)]
    assert [str(path) for path in targets if not path.exists()] == []


@pytest.mark.parametrize("title", COMMANDS)
def test_the_table_of_a_command_lists_all_its_options_with_their_defaults(title):
    page = ROOT / "docs" / PAGE_OF.get(title, "running.md")
    text = section(page.read_text(encoding="utf-8"), title)
    rows = {flag: (negate or None, default) for flag, negate, default in OPTION_ROW.findall(text)}
    fields = {field.name: field for field in dataclasses.fields(COMMANDS[title])}
    declared = {
        said.flag: (said.negate, default_text(fields[name], said))
        for name, said in declarations(COMMANDS[title]).items()
    }
    assert rows == declared


@pytest.mark.parametrize(
    ("command", "cls", "other"),
    [
        ("class3d", Class3DOptions, RefineOptions), ("class2d", Class2DOptions, Class3DOptions),
        ("initialmodel", InitialModelOptions, Class3DOptions),
    ],
)
def test_the_table_of_a_classification_lists_what_another_program_lacks_or_has_otherwise(
    command, cls, other
):
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    found = OPTION_ROW.findall(section(page, f"Options of {command}"))
    rows = {flag: (negate or None, default) for flag, negate, default in found}
    theirs, ours = declarations(other), declarations(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    before = {field.name: field.default for field in dataclasses.fields(other)}
    own = {
        name: said for name, said in ours.items()
        if theirs.get(name) != said or before[name] != fields[name].default
    }  # fmt: skip
    assert rows == {
        said.flag: (said.negate, default_text(fields[name], said)) for name, said in own.items()
    }
    left_out = section(page, f"Options of {command}").split("|", 1)[0]
    missing = [said.flag for name, said in theirs.items() if name not in ours]
    assert [flag for flag in missing if f"`{flag}`" not in left_out] == []


def test_the_table_of_relion_s_options_is_that_of_the_declarations():
    made = "python tests/factories/options_page.py"
    assert options_page.PAGE.read_text(encoding="utf-8") == options_page.page(), f"run `{made}`"


def test_every_column_of_the_log_is_explained():
    from relion_mpi.refine.table import HEADER

    text = section((ROOT / "docs" / "running.md").read_text(encoding="utf-8"), "The log")
    columns = HEADER.splitlines()[0].replace("|", " ").split()
    assert [name for name in columns if f"\n| {name} | " not in text] == []


@every_page
def test_examples_give_what_they_say(page):
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0


def test_the_conventions_have_examples():
    text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    assert len(doctest.DocTestParser().get_examples(text)) > 15


@every_page
def test_lines_are_not_overlong(page):
    """Prose wraps at 120; tables and code may be longer."""
    in_code, long = False, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        in_code ^= line.startswith("```")
        if len(line) > 120 and not in_code and not line.startswith("|"):
            long.append(number)
    assert long == []


@every_page
def test_rows_of_a_table_have_the_cells_of_its_header(page):
    uneven, header = [], 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.count("|") if line.startswith("|") else 0
        header = header if header and cells else cells
        if cells != header:
            uneven.append(number)
    assert uneven == []
