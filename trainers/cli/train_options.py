"""The options that `python -m trainers.train` and `ipix-tune train` share."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="A training config, such as an exported best.yaml.")]
RunDir = Annotated[str | None, typer.Option(help="Folder of the run; default: runs/<name of the file>-seed<seed>.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the file, such as seed=1; repeatable."),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        min=1, help="Train this many seeds in turn, from the file's seed on; with --run-dir in folders seed<n>."
    ),
]
