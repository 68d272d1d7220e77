"""`ipix-tune schema`: writes search_spaces/study.schema.json, by which editors complete and check study files."""

from pathlib import Path

import typer

from ipix_tune.config.json_schema import schema_text

FILE = Path(__file__).parents[2] / "search_spaces" / "study.schema.json"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def write() -> None:
    """Write the schema next to the shipped studies."""
    FILE.write_text(schema_text())
    typer.echo(str(FILE))


if __name__ == "__main__":
    app()
