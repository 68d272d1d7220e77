"""The study file's `confirm` section, typed."""

import builtins
from itertools import accumulate
from typing import Annotated, Literal, Self, cast

from pydantic import Field, model_validator

from ipix_tune.trainer.resources import Value
from trainers.common.section import Section


class ConfirmConfig(Section):
    """Paired seeds for the leading configurations, the defaults, and both with parts switched off."""

    top: Annotated[int, Field(ge=1, le=10)] = 2
    """Configurations of the search to confirm: the best by their last score at full length."""
    defaults: builtins.bool | dict[str, Value] = True
    """The configuration to beat: the study's first point (true), training config keys to lay over `trainer`, or none
    (false)."""
    ablate: dict[str, Value] | dict[str, dict[str, Value]] | list[dict[str, Value]] = Field(default_factory=dict)
    """Training config keys and the values that switch a part off, such as `interpixel.alpha: 0`: every configuration is
    also run with these. Runs that differ only in keys without effect are made once. A list of such mappings, or a
    mapping of names to them, is a ladder: every step adds its keys to those of the steps before it, and is compared
    with the step before."""
    contrast: list[str] = Field(default_factory=list)
    """Searched choices: the leading configuration is also run with every other value of each."""
    variants: dict[str, dict[str, Value]] = Field(default_factory=dict)
    """Further configurations by name: the defaults with these training config keys set, compared with the defaults.
    Where there are no defaults: the leading configuration with them, compared with that."""
    first_seeds: Annotated[int, Field(ge=2)] = 3
    """Seeds of every configuration before the first look."""
    max_seeds: Annotated[int, Field(ge=2, le=30)] = 10
    """Seeds of a configuration at most; each fixes initialisation, order, views, and the split draw where there is
    one."""
    delta: Annotated[float, Field(gt=0)] = 0.3
    """Smallest difference that matters, in units of the objective."""
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance that any of the verdicts is wrong, over all comparisons and looks."""
    after_search: builtins.bool = False
    """Confirm as soon as the search has ended; false: `ipix-tune confirm` does."""
    prefer: Literal["winner", "simplest"] = "winner"
    """What is exported: the winner, or the simplest configuration that is equivalent to it within delta."""

    @model_validator(mode="after")
    def _budget_covers_the_first_look(self) -> Self:
        if self.max_seeds < self.first_seeds:
            raise ValueError(f"max_seeds = {self.max_seeds} is below first_seeds = {self.first_seeds}")
        return self

    @model_validator(mode="after")
    def _every_step_switches_something_off(self) -> Self:
        for number, (name, step) in enumerate(zip(self.step_names, self.steps, strict=True)):
            if not step:
                which = number if name is None else name
                raise ValueError(f"ablate: step {which} is empty; name the keys that it sets, or remove it")
        return self

    @model_validator(mode="after")
    def _names_are_their_own(self) -> Self:
        steps = [name for name in self.step_names if name is not None]
        for key, what, names in (("ablate", "step", steps), ("variants", "variant", list(self.variants))):
            for name in names:
                taken = name == "defaults" or name.startswith("top ") or " with " in name or "(equal to" in name
                if taken or not name.strip() or (key == "variants" and name in steps):
                    raise ValueError(
                        f"{key}: {name!r} is no name for a {what}: `defaults`, `top 1`, ..., names that hold ' with ' "
                        "or '(equal to', and names of the ablation's steps are those of others; give another"
                    )
        for name, keys in self.variants.items():
            if not keys:
                raise ValueError(f"variants: {name} sets nothing; name the keys that differ")
        return self

    @property
    def steps(self) -> tuple[dict[str, Value], ...]:
        """The ablation's steps: what each sets, beyond those before it."""
        if isinstance(self.ablate, list):
            return tuple(self.ablate)
        if (named := self.named_steps) is not None:
            return tuple(named.values())
        return (cast("dict[str, Value]", self.ablate),) if self.ablate else ()

    @property
    def named_steps(self) -> dict[str, dict[str, Value]] | None:
        """The ablation's steps by name, where they have names."""
        if isinstance(self.ablate, dict) and any(isinstance(step, dict) for step in self.ablate.values()):
            return cast("dict[str, dict[str, Value]]", self.ablate)
        return None

    @property
    def step_names(self) -> tuple[str | None, ...]:
        """The names of :attr:`steps`; None where a step has none."""
        named = self.named_steps
        return (None,) * len(self.steps) if named is None else tuple(named)

    @property
    def ladder(self) -> tuple[dict[str, Value], ...]:
        """The ablation's steps: all that is set from the first one on."""
        return tuple(accumulate(self.steps, lambda before, step: before | step))
