"""The section on what makes seeds differ, of a study that searches the seeds of single sources of chance."""

from functools import partial

from analysis.figures import forest, style
from analysis.figures.render import Figures
from analysis.sections.section import Part, ReportSection, Unanswered
from analysis.stats.seed_sources import TOGETHER, Estimate, SeedSources, Split, seed_sources
from analysis.stats.study import StudyTrials
from analysis.wording.seeds import called, listed_levels, say_seed_sources

TITLE = "What makes seeds differ?"
RUN, PAIR = "a run", "a difference of two configurations with equal seeds"
NORMAL = (
    "Variance components of a crossed design, all sources random; the intervals are for normal effects, each by "
    "itself. A source with few values is known roughly, however many runs there are: add values of its seed. A run "
    "that collapsed counts in full."
)


def seed_sources_section(study: StudyTrials, figures: Figures) -> Part:
    """``study`` searches two seeds or more."""
    found = seed_sources(study, study.max_epochs)
    if found is None:
        names = " and ".join(study.searched_seeds)
        return Unanswered(
            title=TITLE,
            why=f"The study searches {names}, and no two values of two of them have scores after {study.max_epochs} "
            "epochs in every combination.",
            what_would="Let the grid run to its end (ipix-tune sweep STUDY.yaml --resume, with budget.trials as large "
            "as the grid), with at least two values of each seed.",
        )
    splits = {RUN: found.run, **({PAIR: found.pair} if found.pair else {})}
    colours = dict(zip(splits, (style.BLUE, style.RED), strict=False))
    lines = [
        forest.Line(
            label=called(part.source),
            value=100 * part.share.value,
            interval=(100 * part.share.low, 100 * part.share.high),
            colour=colours[name],
            group=name,
        )
        for index in range(len(found.run.parts))
        for name, split in splits.items()
        for part in [split.parts[index]]
    ]
    return ReportSection(
        title=TITLE,
        reading=say_seed_sources(found, study.metric),
        figure=figures.drawn(
            "seed-sources",
            partial(
                forest.draw,
                lines,
                title="Sources of the variance between seeds",
                unit="share of the variance (%), 95 %",
            ),
        ),
        alt="Share of every source of chance in the variance between seeds, with intervals",
        n=f"{found.runs} runs: {listed_levels(found)}",
        notes=(NORMAL,),
        table=_table(found, splits),
    )


def _table(found: SeedSources, splits: dict[str, Split]) -> tuple[tuple[str, ...], ...]:
    head = ("source", "values", *(f"share of the variance of {name} (95 % interval)" for name in splits))
    rows = [
        (
            called(part.source),
            "–" if part.source == TOGETHER else str(found.levels[part.source[0]]),
            *(_percent(split.parts[index].share) for split in splits.values()),
        )
        for index, part in enumerate(found.run.parts)
    ]
    return (head, *rows)


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f} %)"
