"""A figure as it stands in the page: in few bytes, in the page's theme, and needing nothing else."""

import re
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from analysis.figures.style import DARK, LIGHT, Theme

COLOURS = ("ground", "ink", "faint", "line")
"""Colours of a theme that follow the page's light or dark scheme; all others stay as they are."""
UNREAD = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
PLACES = re.compile(r""" (?:d|x|y)="[^"]*\"""")
"""Attributes in points, which are written to 0.01."""
UNSAFE = re.compile(r"""[^ !$&-~]+""")
"""What may not stand in an address between double quotes: percent and number signs, double quotes, control characters,
and all that is not ASCII."""


def data_uri(svg: Path) -> Markup:
    """The figure's address, which holds all of it, for an attribute between double quotes. Its image follows the
    color-scheme of where it stands."""
    text = UNSAFE.sub(lambda found: quote(found[0]), themed(shortened(svg.read_text(encoding="utf-8"))))
    return Markup("data:image/svg+xml," + text.replace("&", "&amp;"))


def shortened(svg: str) -> str:
    """Without what no browser reads, on one line, with single quotes."""
    svg = UNREAD.sub("", svg)
    svg = PLACES.sub(lambda found: re.sub(r"(?<=\d\.\d\d)\d+", "", found[0]), svg)
    return re.sub(r"\s+", " ", re.sub(r">\s+<", "><", svg)).strip().replace(' "', '"').replace('"', "'")


def themed(svg: str) -> str:
    """A light figure whose ground, text and lines have the colours of the scheme, light or dark, that it stands in."""
    for name in COLOURS:
        svg = svg.replace(getattr(LIGHT, name), f"var(--{name})")
    dark = f"@media (prefers-color-scheme: dark) {{ {_palette(DARK)} }}"
    return svg.replace("</style>", f" {_palette(LIGHT)} {dark}</style>", 1)


def _palette(theme: Theme) -> str:
    return "svg { " + " ".join(f"--{name}: {getattr(theme, name)};" for name in COLOURS) + " }"
