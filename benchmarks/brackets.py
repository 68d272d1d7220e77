"""What brackets save, and what they cost, beside grace periods: where early epochs tell, and where they do not.

    python -m benchmarks.brackets run --raw RAW.jsonl            # goes on where it was left
    python -m benchmarks.brackets table --raw RAW.jsonl --out benchmarks/results/brackets_202611.md

Our search with `scheduler.brackets` of 2 and 3 after a grace period of one epoch, and without brackets after a grace
period of 1, 3 and 9, on problems of `benchmarks.anytime` and by its measure: regret is how far the best configuration
so far is from the best of 512 random ones, as a share of the way from the median one. A run ends after `SPENT` epochs
or at the target.
"""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from threadpoolctl import threadpool_limits

from benchmarks.anytime import Problem, Raw, as_row, read_raw, reference_of, write_row
from benchmarks.helpers.anytime_tables import REFERENCE, quartiles, regrets
from benchmarks.helpers.command_line import called, written

AT = (270, 540, 1080)
SPENT = AT[-1]
SCHEDULERS = {
    "grace 1": {"grace_epochs": 1},
    "grace 3": {"grace_epochs": 3},
    "grace 9": {"grace_epochs": 9},
    "2 brackets from grace 1": {"grace_epochs": 1, "brackets": 2},
    "3 brackets from grace 1": {"grace_epochs": 1, "brackets": 3},
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    raw: Annotated[Path, typer.Option(help="JSON lines, read and added to.")],
    families: Annotated[str, typer.Option(help="Comma-separated.")] = "digits,power",
    repetitions: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Run what is missing, all families and schedulers of a repetition before the next."""
    found = read_raw(raw)
    for seed in range(repetitions):
        for family in families.split(","):
            one = Problem(family, seed)
            with threadpool_limits(1):
                for name, scheduler in SCHEDULERS.items():
                    if (family, seed, name) in found:
                        continue
                    target = reference_of(found, raw, one)["target"]
                    study = one.study()
                    changed = {
                        "scheduler": study.scheduler.model_copy(update=scheduler),
                        "budget": study.budget.model_copy(update={"epochs": SPENT}),
                    }
                    write_row(found, raw, as_row(one, name, one.race(study.model_copy(update=changed), target)))


@app.command()
def table(
    raw: Annotated[Path, typer.Option(help="Of `run`.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Print, or write, the table of what has been measured."""
    written(render(read_raw(raw), command=called("brackets")), out)


def render(found: Raw, *, command: str) -> str:
    """The table as Markdown."""
    lines = [
        "# Brackets beside grace periods",
        "",
        "`at` so many epochs: median regret [quartiles] over problems. `reached`: problems whose target was, within",
        f"{SPENT} epochs. `full`: median number of trials of full length until then.",
        "",
        "| family | scheduler | problems | reached | " + " | ".join(f"at {one}" for one in AT) + " | full |",
        "|---|---|---|---|" + "---|" * (len(AT) + 1),
    ]
    for family in dict.fromkeys(key[0] for key in found):
        for name in SCHEDULERS:
            rows = [row for key, row in found.items() if (key[0], key[2]) == (family, name)]
            if not rows:
                continue
            curves = np.array([regrets(row, found[family, row["seed"], REFERENCE], AT) for row in rows])
            shown = " | ".join("{1:.2f} [{0:.2f}, {2:.2f}]".format(*quartiles(list(at))) for at in curves.T)
            reached = sum(row["reached"] is not None for row in rows)
            full = np.median([len(row["ended"]) for row in rows])
            lines.append(f"| {family} | {name} | {len(rows)} | {reached} | {shown} | {full:.0f} |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "numpy"))
    foot = f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}."
    return "\n".join([*lines, "", f"Command: `{command}`; 2 cores, no GPU.", foot, ""])


if __name__ == "__main__":
    app()
