"""Imported by the server of processes that draw, before it forks them: a first figure, so that fonts are found and
what draws is loaded once and not by each."""

import contextlib
import io

from analysis.figures import style


def _draw() -> None:
    with style.themed(style.LIGHT):
        figure, axes = style.new()
        axes.plot([0, 1], [0, 1], label="0")
        axes.legend()
        axes.set_title("0")
        figure.suptitle("0")
        for kind in ("png", "svg"):
            figure.savefig(io.BytesIO(), format=kind)


with contextlib.suppress(Exception):  # who draws in earnest says what is wrong
    _draw()
