"""Tables as a paper takes them: LaTeX with booktabs."""

import re
from collections.abc import Sequence
from typing import Any

from analysis.wording.phrases import shown


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, columns: str, caption: str, label: str) -> str:
    """A floating table.

    Args:
        head: names of the columns, as plain text.
        rows: cells, as plain text.
        columns: their alignment, a letter each.
        caption: LaTeX.
        label: plain text, which becomes `tab:...`.
    """
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', label)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _row(head),
        "\\midrule",
        *map(_row, rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + " \\\\"


def cell(value: Any) -> str:
    """A setting's value; a dash where it is not active."""
    return shown(value, none="--")


def escaped(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": r"$-$",
}  # fmt: skip
