"""`python -m analysis.report studies/voc`: tables, figures and one page, from W&B logs and nothing else."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.compare import OUT, side_by_side
from analysis.errors import LogsError
from analysis.page.build import build

LOCAL = "127.0.0.1"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def report(
    studies: Annotated[
        list[Path], typer.Argument(help="Folder of the study, such as studies/voc. Several are compared side by side.")
    ],
    online: Annotated[
        str | None,
        typer.Option(
            metavar="ENTITY/PROJECT",
            help="ENTITY/PROJECT of a W&B server to read runs from too. A run that is in both counts once.",
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the page at a local address, and update it as trials report.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="With --live: the address to listen on. Default: this machine only.")
    ] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --live: the port. 0 takes a free one.")] = 0,
    every: Annotated[float, typer.Option(min=0.2, help="With --live: seconds between looks at the logs.")] = 5.0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write into, instead of the study's.")
    ] = None,
    printed: Annotated[bool, typer.Option("--print", help="Also figures for a paper, in plots/print/.")] = False,
) -> None:
    """Write tables/, plots/ and report.html into the study's folder, or into another (--out). Several studies come on
    one page, as with `ipix-tune compare`."""
    if len(studies) > 1:
        if live or online or printed:
            typer.echo("error: --live, --online and --print take one study; leave them out, or name one", err=True)
            sys.exit(2)
        side_by_side(studies, out or OUT)
        return
    study = studies[0]
    try:
        if live:
            from analysis.page.serve import serve

            serve(study, out=out, online=online, host=host, port=port, every_s=every, say=typer.echo)
            return
        page = build(study, out=out, online=online, printed=printed, say=typer.echo)
    except LogsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    typer.echo(f"report: {page}")


if __name__ == "__main__":
    app()
