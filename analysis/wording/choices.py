"""What the report says of the values of a choice, as the search happened to try them. Each statement with its n."""

from analysis.stats.all_choices import Rivals
from analysis.stats.two_choices import Comparison
from analysis.wording.phrases import epochs


def say_comparison(found: Comparison, *, first: str, second: str) -> str:
    """One sentence of reading, of a comparison with an interval."""
    one = found.difference
    assert one is not None
    counts = f"n = {len(found.first_scores)} and {len(found.second_scores)} trials, {found.seeds}"
    verdict = "The interval excludes 0." if one.decided else "The interval covers 0: undecided."
    text = (
        f"{first.upper()} minus {second.upper()} after {epochs(found.epoch)}: {one.value:+.2f}, 95 % interval "
        f"{one.low:+.2f} to {one.high:+.2f} ({counts}). {verdict} "
    )
    if one.seeds:
        return text + (
            f"Every configuration ran with the same {one.seeds} seeds: the interval is Student's t over what the two "
            "differ by with each seed."
        )
    return text + (
        "The trials differ in everything else too, and a search tries more of what did well: this compares what tuning "
        "made of the two (Welch's interval), and is no experiment at equal settings."
    )


def say_rivals(found: Rivals, *, full: int) -> str:
    """Who leads in these trials, and what that does not say."""
    leader, others = found.ranked[0], found.ranked[1:]
    settled = [one.value for one in others if one.difference and not one.difference[1] <= 0 <= one.difference[2]]
    text = (
        f"After {epochs(found.epoch)} {leader.value} has the best mean, {leader.mean:.2f} "
        f"(n = {len(leader.scores)} trials). "
    )
    if settled:
        text += (
            f"In these trials it is apart from {', '.join(settled)} ({len(settled)} of {len(others)}); the rest is "
            "undecided. "
        )
    else:
        text += f"It is apart from none of the other {len(others)}: undecided. "
    text += (
        "This is what tuning made of each, and no experiment at equal settings: each trial has settings of its own, "
        "and a search tries more of what did well, which sets equal choices apart more often than in the 5 % that the "
        "intervals (95 %, Bonferroni over all pairs) allow for. A confirmation compares them at equal seeds."
    )
    if found.epoch < full:
        text += f" It says nothing of the order after all {full} epochs."
    return text
