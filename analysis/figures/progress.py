"""How did the search go? Every trial's last score in the order of its end, and the incumbent."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.stats.study import Study


def draw(study: Study, theme: style.Theme) -> Figure:
    """The incumbent is the best so far among trials that ran all their epochs."""
    with style.themed(theme):
        figure, axes = style.new()
        scored = sorted((trial for trial in study.trials if trial.curve), key=lambda trial: trial.ended_at)
        order = {trial.number: position for position, trial in enumerate(scored, 1)}
        for state, colour in style.COLOURS.items():
            group = [trial for trial in scored if trial.state == state]
            if group:
                axes.scatter(
                    [order[trial.number] for trial in group],
                    [trial.score for trial in group],
                    marker=style.MARKERS[state],
                    color=colour,
                    s=34 if len(scored) <= style.MANY else 14,
                    label=f"{state} ({len(group)})",
                    zorder=3,
                    rasterized=len(scored) > style.MANY,
                )
        steps: list[tuple[float, float | None]] = [(0.5, None)]
        for trial in scored:
            score, best = trial.score, steps[-1][1]
            if trial.state == "complete" and score is not None:
                better = best is None or study.sign * score > study.sign * best
                steps.append((order[trial.number], score if better else best))
        known = [(at, best) for at, best in steps if best is not None]
        if known:
            known.append((len(scored) + 0.5, known[-1][1]))
            axes.step(*zip(*known, strict=True), where="post", color=theme.ink, lw=1.6, label="incumbent")
        axes.set_xlabel("trials ended, in order of their end")
        axes.set_ylabel(style.unit(study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"Score of every trial and the incumbent (n = {len(scored)} trials)")
        style.legend(figure, axes, theme)
    return figure
