"""How probable it is that one arm beats another in a new run with a new seed, lost runs included."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.stats.confirm.lost_runs import Lost
from analysis.stats.proportions import exact_interval

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """P(first arm better than second) when both are run once more with the same new seed. A lost run loses against
    one that is not; a tie counts half. The interval is exact (Clopper and Pearson) at 95 % for a number of seeds that
    was fixed; its lower end counts ties as lost, its upper end as won."""

    value: float
    low: float
    high: float
    seeds: int
    """Seeds with which both arms' runs have ended, with or without a score."""

    @property
    def words(self) -> str:
        """The probability as words, such as: better in 80 % of new runs (44 to 97 %)."""
        return f"better in {100 * self.value:.0f} % of new runs ({100 * self.low:.0f} to {100 * self.high:.0f} %)"


def new_run(
    scores: Mapping[str, Mapping[int, float]], lost: Mapping[str, Lost], arm: str, other: str, *, sign: int
) -> NewRun | None:
    """None while no seed has ended in both arms."""
    first, second = _ranks(scores, lost, arm, sign), _ranks(scores, lost, other, sign)
    seeds = first.keys() & second.keys()
    if not seeds:
        return None
    wins = sum(first[seed] > second[seed] for seed in seeds)
    ties = sum(first[seed] == second[seed] for seed in seeds)
    low, high = exact_interval(wins, len(seeds), level=LEVEL, most=wins + ties)
    return NewRun(value=(wins + ties / 2) / len(seeds), low=low, high=high, seeds=len(seeds))


def _ranks(
    scores: Mapping[str, Mapping[int, float]], lost: Mapping[str, Lost], arm: str, sign: int
) -> dict[int, tuple[bool, float]]:
    """What to compare a run by: a lost one is below all others, and equal to another lost one."""
    of_arm = lost.get(arm, Lost())
    ended = {seed: (True, sign * one) for seed, one in scores.get(arm, {}).items() if seed not in of_arm.collapsed}
    return ended | dict.fromkeys((*of_arm.collapsed, *of_arm.failed), (False, 0.0))
