"""The option `--dry-run`, alone or with what it is to do."""

from enum import StrEnum
from typing import Any

from typer.core import TyperCommand


class DryRun(StrEnum):
    """What a dry run does."""

    PLAN = "plan"
    MEASURE = "measure"


class WithDryRun(TyperCommand):
    """Reads a bare `--dry-run` as `--dry-run=plan`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--dry-run=plan" if arg == "--dry-run" else arg for arg in args])
