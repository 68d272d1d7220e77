"""What every section of the report consists of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question, one sentence of reading, one figure, or none."""

    title: str
    reading: str
    figure: Path | None
    """What `analysis.figures.drawing.drawn` returned."""
    alt: str
    """What the figure shows, for those who do not see it."""
    n: str = ""
    """What stands behind the reading, such as "24 trials, 1 seed each; 9 epochs"."""
    notes: tuple[str, ...] = ()
    """What else has to be said, a paragraph each, in smaller type."""
    table: tuple[tuple[str, ...], ...] = ()
    """Rows of text, the first the head; the page lets readers sort them."""
    interactive: Literal["", "parallel"] = ""
    """Which of the page's own drawings stands in the figure's place where scripts run."""
