"""Write the tables of docs/options.md anew: `python tests/factories/options_page.py`."""

from __future__ import annotations

import re
from pathlib import Path

from relion_mpi.core.options import declarations
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_line import PROGRAMMES, own_options
from relion_mpi.refine.relion_options import ROWS
from relion_mpi.refine.relion_row import COMMANDS

PAGE = Path(__file__).parent.parent.parent / "docs" / "options.md"
RELION_S = "| option | default | here | what it does, or why not |"
OURS = "| option | default | meaning |"
FLAG = re.compile(r"(?<![\w-])(--\w[\w-]*)")
MARKED = r"`\1`"


def page():
    """Return the page with the tables that the declarations make."""
    said = {one.flag: one for cls in PROGRAMMES.values() for one in declarations(cls).values()}
    fields = RefineOptions.__dataclass_fields__
    theirs = [
        f"| `{row.flag}` | {shown(row.default)} | {here(row)} | {meaning(row, said)} |"
        for row in ROWS.values()
    ]
    ours = [
        f"| `{one.flag}` | {shown(fields[name].default)} | {sentence(one.help)} |"
        for name, one in declarations(RefineOptions).items()
        if name in own_options()
    ]
    text = PAGE.read_text(encoding="utf-8")
    return with_table(with_table(text, RELION_S, theirs), OURS, ours)


def exceptions(row):
    """Fates and notes in lines where they are others, each with its commands."""
    found = {}
    for command in COMMANDS:
        if command in row.elsewhere:
            found.setdefault(row.elsewhere[command], []).append(command)
    return [(fate, note, ", ".join(commands)) for (fate, note), commands in found.items()]


def here(row):
    """Fate, and those in lines where it is another."""
    found = {}
    for fate, _, commands in exceptions(row):
        found.setdefault(fate, []).append(commands)
    others = [f"in {', '.join(commands)} {fate}" for fate, commands in found.items()]
    return "; ".join([row.fate, *others])


def meaning(row, said):
    help_text = said[row.flag].help if row.flag in said else ""
    told = [sentence(row.note or help_text)]
    for _, note, commands in exceptions(row):
        told.append(f"in {commands}: {FLAG.sub(MARKED, note or help_text)}")
    return "; ".join(told)


def with_table(text, header, rows):
    """Put rows under a header in place of those that are there."""
    before, after = text.split(header + "\n", 1)
    rest = re.sub(r"\A(\|.*\n)*", "", after)
    rule = "|---" * (header.count("|") - 1) + "|"
    return before + "\n".join([header, rule, *rows, ""]) + rest


def shown(default):
    if isinstance(default, bool):
        return "on" if default else "off"
    if default in (None, ""):
        return "-"
    return f"{default:g}" if isinstance(default, float) else str(default)


def sentence(text):
    return FLAG.sub(MARKED, text[0].upper() + text[1:])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
