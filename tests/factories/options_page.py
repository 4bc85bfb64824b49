"""Write the tables of docs/options.md anew: `python tests/factories/options_page.py`."""

from __future__ import annotations

import re
from pathlib import Path

from relion_mpi.core.options import declarations
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_line import own_options
from relion_mpi.refine.relion_options import ROWS

PAGE = Path(__file__).parent.parent.parent / "docs" / "options.md"
RELION_S = "| option | default | here | what it does, or why not |"
OURS = "| option | default | meaning |"
FLAG = re.compile(r"(?<![\w-])(--\w[\w-]*)")


def page():
    """Return the page with the tables that the declarations make."""
    said = {one.flag: one for cls in (Class3DOptions, RefineOptions)
            for one in declarations(cls).values()}
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


def here(row):
    """Fate, and that in classification where it is another."""
    return row.fate if row.classes is None else f"{row.fate}; in classification {row.classes}"


def meaning(row, said):
    help_text = said[row.flag].help if row.flag in said else ""
    if row.classes is None:
        return sentence(row.note or help_text)
    marked = FLAG.sub(r"`\1`", row.class_note or help_text)
    return f"{sentence(row.note or help_text)}; in classification: {marked}"


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
    return FLAG.sub(r"`\1`", text[0].upper() + text[1:])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
