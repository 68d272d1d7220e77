"""The mode of the hyperparameters' posterior."""

import numpy as np

from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.gp_likelihood import Model


def find_mode(model: Model, *, start: Floats | None = None, iterations: int = 200) -> Floats:
    """Theta of the highest posterior density."""
    from scipy.optimize import minimize

    def loss(theta: Floats) -> tuple[float, Floats]:
        try:
            value, slope = model.with_gradient(theta)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        return -value, -slope

    bounds = list(zip(model.center - 5 * model.spread, model.center + 5 * model.spread, strict=True))
    begin = model.center if start is None else start
    found: Floats = minimize(
        loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations, "ftol": 1e-7}
    ).x
    return found
