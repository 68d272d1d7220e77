"""`ipix-tune export STUDY --out best.yaml`: the best config of a study, whole, and where it came from."""

from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run
from ipix_tune.study.export import export_best
from ipix_tune.study.provenance import ExportChoice, count_seeds, scored, trial_key
from ipix_tune.trainer.exported import SEEDS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export(
    study: Annotated[Path, typer.Argument(help="Folder of the study, such as studies/voc.")],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
    trial: Annotated[str | None, typer.Option(help="Key or number of a trial, instead of the best one.")] = None,
    final: Annotated[
        bool | None,
        typer.Option(
            "--final/--no-final",
            help="Write the recipe for final trainings: fresh seeds, training on the held-out images too where that "
            "can be done, data.val evaluated at the end. Default: on after a confirmation. --no-final: the run as "
            "the study made it.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With the final recipe: the number of seeds to train.")] = SEEDS,
    give_back: Annotated[
        bool | None,
        typer.Option(
            "--give-back/--keep-held-out",
            help="With the final recipe: also train on the held-out images; default: where that can be done.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the best training config of a study."""
    choice = export_best(study, out, trial=trial, final=final, seeds=seeds, give_back=give_back, force=force)
    typer.echo(f"{out}: {_score(choice)}")
    for caveat in choice.caveats:
        typer.echo(f"note: {caveat}", err=True)
    for line in (
        [] if choice.recipe is None else [f"held-out images: {choice.recipe.held_out}", *choice.recipe.expected]
    ):
        typer.echo(line)
    typer.echo(f"train it: ipix-tune train {out}" + ("" if choice.recipe is None else f" --seeds {seeds}"))


def _score(choice: ExportChoice) -> str:
    row = choice.row
    if choice.confirmed is None:
        return f"trial {trial_key(row)}, {scored(choice)} after {choice.epoch} epochs"
    arm, found = choice.confirmed
    assert arm.mean is not None
    return f"{arm.name}, {found.metric} {arm.mean.value:.2f}, mean over {count_seeds(arm.mean.seeds)}; {choice.rule}"


if __name__ == "__main__":
    run(app)
