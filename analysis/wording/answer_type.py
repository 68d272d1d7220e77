"""The first screen of the report: what the page's head is made of."""

from dataclasses import dataclass

from analysis.stats.study import Trial


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The first screen: what was asked, what can be said, and how far to trust it."""

    question: str
    headline: str
    rule: str
    trust: str
    best: Trial | None
    provisional: bool
    config: tuple[tuple[str, str], ...]
    cost: str
    scored_on: str
    shown: str = ""
    """What the configuration on the first screen is called, where it has a name, and whether it is confirmed."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What a confirmation says on the first screen, in place of the provisional winner."""

    question: str
    """What was asked."""
    headline: str
    """The answer in one sentence, of the one verdict that it stands on: effect, interval, number of seeds."""
    trust: str
    """What else has to be known of the configuration shown: its level, its lost runs."""
    shown: str
    """The shown configuration's name, and whether it is confirmed."""
    rule: str
    """How the configuration was chosen."""
    cost: str
    """What was spent beside the search."""
    confirmed: bool
    """Whether the configuration shown is confirmed; else it is called provisional."""
    key: str
    """Key of a run of the configuration to show and to copy."""
