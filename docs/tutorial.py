"""Run the tutorial for real and show its text with the pictures that come out.

    python docs/tutorial.py MICROGRAPHS REFERENCE [--out docs/build] [--page_only]

MICROGRAPHS is a folder with micrographs_ctf.star, the micrographs that it names, and
coords/*_truth.star; REFERENCE is a map of the particle. The command lines are those of
docs/tutorial_micrographs.md, run one after the other in OUT/project, a new RELION project.
OUT/index.html is the page with the pictures of each step below its line, OUT/logs what the
commands said. Output that the page quotes but this run did not say is listed at its top.
--page_only makes the page again of an earlier run. Needs markdown-it-py (in the `dev` extra).
"""

from __future__ import annotations

import argparse
import html
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import write_star
from relion_mpi.plots.montage import central_slices, write_montage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from markdown_it.token import Token

PAGE = Path(__file__).parent / "tutorial_micrographs.md"
PROGRAM = "relion-mpi "
OUTPUTS = ("--o", "--odir", "--part_dir")
"""Options that say where the results of a line are, whichever it has."""
PARTICLES = 20
"""Shown of an extraction."""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1f2933; }
pre { background: #f3f5f7; padding: .7rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
      border-radius: 6px; }
code { font-size: 14px; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: end; }
.pictures figure { flex: 1 1 24rem; margin: 0; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; border-radius: 6px; }
figcaption, summary { color: #616e7c; font-size: 14px; }
iframe { width: 100%; height: 44rem; border: 1px solid #cbd2d9; border-radius: 6px; }
.missing { border-left: 4px solid #d64545; padding-left: 1rem; }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A command line of the page.

    Attributes
    ----------
    text : as it stands there
    number : from 1
    """

    text: str
    number: int

    @property
    def command(self) -> str:
        """The sub-command."""
        return shlex.split(self.text)[1]

    @property
    def output(self) -> str:
        """What is given for the results: a root, a file or a folder; nothing if none is."""
        words = shlex.split(self.text)
        return next((words[words.index(flag) + 1] for flag in OUTPUTS if flag in words), "")

    @property
    def name(self) -> str:
        """Name for files of this line."""
        return f"{self.number:02d}_{self.command}"


def is_command(fence: str) -> bool:
    """Tell command lines from quoted output."""
    return fence.startswith(PROGRAM)


def command_lines(fences: Iterable[str]) -> list[Line]:
    """List the command lines in fenced blocks, in order."""
    texts = [text for fence in fences if is_command(fence) for text in fence.splitlines()]
    return [Line(text, number) for number, text in enumerate(texts, 1)]


def fences_of(page: str) -> list[str]:
    """Return the contents of a page's fenced blocks."""
    return [token.content for token in _parser().parse(page) if token.type == "fence"]


def not_said(fences: Sequence[str], logs: Path) -> list[str]:
    """Find quoted output that the lines before it did not say, down to the next command."""
    missing, said, number = [], "", 0
    for fence in fences:
        if is_command(fence):
            said = ""
            for _ in fence.splitlines():
                number += 1
                said += next(logs.glob(f"{number:02d}_*.log")).read_text(encoding="utf-8")
        else:
            lines = {line.strip() for line in said.splitlines()}
            missing += [text for text in fence.splitlines() if text.strip() not in lines]
    return missing


def new_project(project: Path, micrographs: Path, reference: Path) -> None:
    """Make a RELION project with links to the data.

    Raises
    ------
    SystemExit
        There is one already.
    """
    if project.exists():
        sys.exit(f"{project}: found an earlier run; remove it or give --page_only or another --out")
    project.mkdir(parents=True)
    for path in sorted(micrographs.iterdir()):
        (project / path.name).symlink_to(path.resolve())
    (project / "reference.mrc").symlink_to(reference.resolve(strict=True))
    # What RELION's interface writes when it is first started in a folder.
    write_star(
        project / "default_pipeline.star",
        {"pipeline_general": {"rlnPipeLineJobCounter": "1"}}, version=30001,
    )  # fmt: skip


def run(lines: Sequence[Line], project: Path, logs: Path) -> None:
    """Run command lines one after the other and keep what they say.

    Raises
    ------
    SystemExit
        One failed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for line in lines:
        began = time.monotonic()
        # A shell, as the reader's: names of files have wildcards.
        done = subprocess.run(
            line.text, shell=True, cwd=project, env={**os.environ, "PATH": path}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        (logs / f"{line.name}.log").write_text(done.stdout, encoding="utf-8")
        if done.returncode:
            sys.exit(f"{done.stdout}\n{line.text}\nended with status {done.returncode}")
        seconds = time.monotonic() - began
        sys.stderr.write(f"{line.number} of {len(lines)}, {line.command}: {seconds:.1f} s\n")


def _files(project: Path, pattern: str) -> list[Path]:
    return sorted(project.glob(pattern))


def _picked(project: Path, line: Line) -> list[Path]:
    return _files(project, f"{line.output}/**/*_autopick.jpg")[:2]


def _averages(project: Path, line: Line) -> list[Path]:
    return _files(project, f"{line.output}_it*_classes.png")[-1:]


def _plots(project: Path, line: Line) -> list[Path]:
    return _files(project, f"{line.output}*.png")


def _extracted(project: Path, line: Line) -> list[Path]:
    stacks = _files(project, f"{line.output}/**/*.mrcs")
    images, _ = read_map(stacks[0])
    picture = project / line.output / "particles.png"
    shown = images[:PARTICLES].astype(np.float64)
    write_montage(picture, list(shown), [str(k) for k in range(1, len(shown) + 1)])
    return [picture]


def _slices(project: Path, line: Line) -> list[Path]:
    found = [f"{line.output}_class001.mrc", line.output, f"{line.output}.mrc"]
    volume = next(project / name for name in found if (project / name).is_file())
    picture = volume.with_suffix(".slices.png")
    sections = central_slices(read_map(volume)[0].astype(np.float64))
    write_montage(picture, [sections], [f"{volume.name}: across z, y and x"])
    return [picture]


def _postprocessed(project: Path, line: Line) -> list[Path]:
    return _slices(project, line) + [
        project / f"{line.output}{end}.png" for end in ("_fsc", "_guinier")
    ]


PICTURES: dict[str, Callable[[Path, Line], list[Path]]] = {
    "autopick": _picked, "pick-score": _plots, "extract": _extracted, "class2d": _averages,
    "refine3d": _slices, "mask": _slices, "postprocess": _postprocessed, "fsc": _plots,
}  # fmt: skip
"""What is shown of each command."""


def _pages(project: Path, line: Line) -> list[Path]:
    if line.command == "report":
        folder = shlex.split(line.text)[2]
        return _files(project, f"{folder}/*_report.html")
    return _files(project, f"{line.output}/*.html") if line.command == "autopick" else []


def shown_html(line: Line, out: Path) -> str:
    """Copy the pictures of a line, and write what shows them and the log."""
    project, pictures, parts = out / "project", [], []
    for made in PICTURES.get(line.command, lambda *_: [])(project, line):
        name = f"pictures/{line.name}_{made.name}"
        shutil.copyfile(made, _with_folder(out / name))
        pictures.append(
            f'<figure><img src="{name}" alt=""><figcaption>{html.escape(made.name)}</figcaption>'
            "</figure>"
        )
    if pictures:
        parts.append(f'<div class="pictures">{"".join(pictures)}</div>')
    for made in _pages(project, line):
        name = f"pages/{line.name}_{made.name}"
        shutil.copyfile(made, _with_folder(out / name))
        parts.append(
            f'<figure><iframe src="{name}"></iframe><figcaption><a href="{name}">{made.name}</a>'
            "</figcaption></figure>"
        )
    log = (out / "logs" / f"{line.name}.log").read_text(encoding="utf-8")
    parts.append(
        f"<details><summary>what {html.escape(line.command)} said</summary>"
        f"<pre>{html.escape(log)}</pre></details>"
    )
    return "\n".join(parts)


def _with_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def page_html(page: str, out: Path) -> str:
    """Render the page, each command line followed by what came out."""
    parser, body = _parser(), []
    lines = iter(command_lines(fences_of(page)))
    for token in (tokens := parser.parse(page)):
        if token.type == "fence" and is_command(token.content):
            for _ in token.content.splitlines():
                line = next(lines)
                body.append(f"<pre>{html.escape(line.text)}</pre>\n{shown_html(line, out)}")
        elif token.type == "fence":
            body.append(f"<pre>{html.escape(token.content)}</pre>")
        else:
            _point_to_docs(token, out)
            body.append(parser.renderer.render([token], parser.options, {}))
    title = next(token.content for token in tokens if token.type == "inline")
    missing = not_said(fences_of(page), out / "logs")
    warning = "".join(f"<pre>{html.escape(text)}</pre>" for text in missing)
    if missing:
        warning = f'<div class="missing"><p>The page quotes, but this run did not say:</p>{warning}'
        warning += "</div>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style>{warning}\n" + "\n".join(body) + "</html>\n"
    )


def _point_to_docs(token: Token, out: Path) -> None:
    """Make links relative to the page's folder relative to that of the result."""
    for link in token.children or []:
        target = str(link.attrGet("href") or "")
        if link.type == "link_open" and "://" not in target:
            link.attrSet("href", os.path.relpath(PAGE.parent / target, out))


def _parser():  # noqa: ANN202 - the package is not needed for the rest
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def main() -> None:
    """Run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("micrographs", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "build")
    parser.add_argument("--page_only", action="store_true")
    options = parser.parse_args()
    page, out = PAGE.read_text(encoding="utf-8"), options.out.resolve()
    if not options.page_only:
        new_project(out / "project", options.micrographs, options.reference)
        run(command_lines(fences_of(page)), out / "project", out / "logs")
    (out / "index.html").write_text(page_html(page, out), encoding="utf-8")
    sys.stderr.write(f"look at {out / 'index.html'}\n")


if __name__ == "__main__":
    main()
