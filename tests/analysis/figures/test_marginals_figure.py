import numpy as np
from matplotlib.collections import PathCollection

from analysis.figures import marginals, style
from analysis.stats.sensitivity.effects import marginal
from analysis.stats.sensitivity.surrogate import fit
from tests.analysis.made import MIXED, study_of_function


def test_dots_stand_at_their_scores_minus_the_mean_that_the_curves_are_differences_from():
    study = study_of_function(lambda values: 50 + 8 * values["tau"], MIXED, 20, halving=False)
    surrogate = fit(study, draws=20)
    figure = marginals.draw(surrogate, [marginal(surrogate, "tau")], [], style.LIGHT)
    drawn = [one for one in figure.axes[0].collections if isinstance(one, PathCollection)]
    dots = np.concatenate([one.get_offsets() for one in drawn])
    scores = {trial.values["tau"]: trial.curve[study.max_epochs] for trial in study.trials}
    assert len(dots) == 20
    mean = np.median(surrogate.level)
    np.testing.assert_allclose(dots[:, 1], [scores[tau] - mean for tau in dots[:, 0]], atol=1e-9)
    curve = marginal(surrogate, "tau")
    assert np.abs(dots[:, 1] - np.interp(dots[:, 0], curve.places, curve.middle)).max() < 2
