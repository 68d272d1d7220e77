"""What a confirmation costs at most, before it starts."""

from dataclasses import dataclass

from analysis.units import amount
from ipix_tune.config.confirm_config import ConfirmConfig
from ipix_tune.config.dimension import every_value
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class ConfirmationBudget:
    """What a confirmation of ``arms`` configurations costs, with runs of ``max_epochs`` epochs scored by ``metric``."""

    arms: int
    confirm: ConfirmConfig
    max_epochs: int
    metric: str

    @property
    def epochs_at_least(self) -> int:
        """Until the first look."""
        return self.arms * self.confirm.first_seeds * self.max_epochs

    @property
    def epochs_at_most(self) -> int:
        """All seeds of all configurations."""
        return self.arms * self.confirm.max_seeds * self.max_epochs

    def lines(self) -> list[str]:
        confirm, first, most = self.confirm, self.confirm.first_seeds, self.confirm.max_seeds
        runs = span(self.arms * first, self.arms * most)
        return [
            f"{self.arms} configurations x {span(first, most)} seeds: {runs} runs of {self.max_epochs} epochs, "
            f"{span(self.epochs_at_least, self.epochs_at_most)} epochs",
            f"verdicts at delta {amount(f'{confirm.delta:g}', self.metric)}, family-wise error {confirm.error:g}",
        ]


def span(low: int, high: int) -> str:
    """Such as "3 to 5", or "2" where both are 2."""
    return f"{low}" if low == high else f"{low} to {high}"


def price(study: StudyConfig, *, max_epochs: int) -> ConfirmationBudget | None:
    """The worst case before the search: no two configurations are equal. None without a `confirm` section."""
    confirm = study.confirm
    if confirm is None:
        return None
    space = SearchSpace(study)
    bases = confirm.top + (confirm.defaults is not False)
    others = sum(len(every_value(space.dimensions[name])) - 1 for name in confirm.contrast)
    others += len(confirm.variants)
    arms = bases * (1 + len(confirm.ladder)) + others
    return ConfirmationBudget(arms=arms, confirm=confirm, max_epochs=max_epochs, metric=study.objective.measured)
