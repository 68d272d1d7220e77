"""What the report says of the sources that make seeds differ, in words. No drawing, no HTML."""

from analysis.stats.seed_sources import TOGETHER, Part, SeedSources, Split
from analysis.stats.variance_split import Source
from analysis.units import is_percent
from analysis.wording.phrases import configurations

SOURCES = {
    "seed": "what has no seed of its own",
    "seeds.init": "initialisation",
    "seeds.order": "order and views",
    "data.draw.seed": "labelled draw",
}


def called(source: Source) -> str:
    """What a source is called, such as: labelled draw (data.draw.seed)."""
    return "in combination alone" if source == TOGETHER else f"{SOURCES[source[0]]} ({source[0]})"


def listed_levels(found: SeedSources) -> str:
    """The crossed design as words, such as: 3 values of seeds.init x 3 of seeds.order, 2 configurations."""
    levels = " x ".join(f"{count} values of {name}" for name, count in found.levels.items())
    return f"{levels}, {configurations(found.configurations)}"


def say_seed_sources(found: SeedSources, metric: str) -> str:
    """The standard deviation of a run, each source's share, which of them are shown to add something, and the same of a
    paired difference."""
    text = (
        f"After {found.epoch} epochs runs of one configuration differ with a standard deviation of "
        f"{_spread(found.run, metric)}. Of that variance {_shares(found.run)}. {_shown(found.run)}"
    )
    if found.pair is not None:
        text += (
            " Two configurations that run with equal seeds have a difference with a standard deviation of "
            f"{_spread(found.pair, metric)}, since what a seed does to both alike drops out. Of that variance "
            f"{_shares(found.pair)}. {_shown(found.pair)}"
        )
    if found.left_out:
        text += (
            f" {found.left_out} run{'s' * (found.left_out != 1)} with a score {'are' if found.left_out != 1 else 'is'} "
            "left out, since others of the same seeds are missing."
        )
    return text


def _spread(split: Split, metric: str) -> str:
    points = " points" if is_percent(metric) else ""
    return f"{split.sd.value:.2f}{points} (95 % interval {split.sd.low:.2f} to {split.sd.high:.2f})"


def _shares(split: Split) -> str:
    parts = [_share(part) for part in split.parts]
    return f"{', '.join(parts[:-1])}, and {parts[-1]}"


def _share(part: Part) -> str:
    name = "what they do only in combination" if part.source == TOGETHER else f"the {called(part.source)}"
    if part.source == ("seed",):
        name = called(part.source)
    share = part.share
    return f"{name} makes {100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f} %)"


def _shown(split: Split) -> str:
    """Which single sources are there for sure."""
    single = [part for part in split.parts if part.source != TOGETHER]
    sure = [part.source[0] for part in single if part.shown]
    rest = [part.source[0] for part in single if not part.shown]
    if not rest:
        return "Each of them is shown to add something by itself."
    if not sure:
        return "No single one of them is shown to add something by itself."
    return f"By itself {_are(sure)} shown to add something; {_are(rest)} not."


def _are(names: list[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
