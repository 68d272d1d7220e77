"""How far do seeds differ on the way? Mean learning curves with the interval of the mean."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.stats.per_class import SeedBand
from analysis.stats.study import StudyTrials


def draw(study: StudyTrials, found: Sequence[SeedBand], theme: style.Theme) -> Figure:
    """One line and band a configuration."""
    colours = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE)
    with style.themed(theme):
        figure, axes = style.new()
        for band, colour in zip(found, colours, strict=False):
            label = f"{band.trial.called} ({band.seeds} seeds)"
            axes.plot(band.epochs, band.mean, color=colour, lw=1.8, label=label)
            axes.fill_between(band.epochs, band.low, band.high, color=colour, alpha=0.2, lw=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel(style.unit(study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title("Mean over seeds, with its 95 % interval at every epoch")
        axes.legend(loc="lower right")
    return figure
