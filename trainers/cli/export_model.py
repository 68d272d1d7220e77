"""`ipix-tune export-model RUN --out model.pt2 [--onnx model.onnx]`: the network as a program without this package."""

import re
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.model_options import Model, Weights, which
from trainers.common.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export_model(
    model: Model,
    out: Annotated[Path, typer.Option(help="The .pt2 file, which torch.export.load reads.")],
    onnx: Annotated[
        Path | None, typer.Option(help="Also an .onnx file; needs the packages onnx and onnxscript.")
    ] = None,
    weights: Weights = None,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH, where the network cannot be exported for any size; default: the crop."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files.")] = False,
) -> None:
    """Export a trained network by torch.export, checked against its eager output."""
    if out.suffix != ".pt2":
        raise ConfigError(f"--out {out}: torch.export writes .pt2 files; call it {out.with_suffix('.pt2').name}")
    for path in (out, onnx):
        if path is not None and path.exists() and not force:
            raise ConfigError(f"{path}: is there already; give another name, or --force")
    from trainers.inference.export import export_model as exported
    from trainers.inference.model import load_model

    loaded = load_model(model, weights=which(weights), device="cpu")
    found = exported(loaded, out, onnx=onnx, size=_size(size))
    bands = {1: "grey", 3: "RGB"}.get(len(loaded.mean), f"{len(loaded.mean)} bands")
    typer.echo(f"{loaded.path}: epoch {loaded.epoch}; takes {found.sizes}, {bands} in 0 .. 1, and gives logits")
    for line in (*found.refused, *found.checks):
        typer.echo(line)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if (found := re.fullmatch(r"(\d+)x(\d+)", text)) is None:
        raise ConfigError(f"--size {text}: write HEIGHTxWIDTH in pixels, such as 518x518")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    app()
