"""What a question of the report comes to: a section that answers it, or why it cannot be answered and what would."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """One question, one sentence of reading, one figure, or none."""

    title: str
    reading: str
    figure: Path | None
    """What `Figures.drawn` returned."""
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


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A question that the study cannot answer. The page lists all of these at its end, without a figure."""

    title: str
    """Title of the section that would answer the question."""
    why: str
    """What is missing, with the counts that there are, as a sentence."""
    what_would: str
    """What the user has to run or to set to have an answer, as a sentence."""
    by_pairs: bool = False
    """Whether that is a confirmation, with seeds that pair its runs."""
    of_ours: bool = False
    """Whether only our own trainer leaves what would answer it."""


Part = ReportSection | Unanswered
"""What a question comes to."""
