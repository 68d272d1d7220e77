"""`ipix-tune schema` writes what is made from the typed configs: docs/reference/keys.md, the README's
list of methods, and search_spaces/study.schema.json, by which editors complete and check study files."""

from pathlib import Path

import typer

from ipix_tune.config.json_schema import schema_text
from ipix_tune.config.key_page import page
from ipix_tune.trainer.own.at_a_glance import with_glance

ROOT = Path(__file__).parents[2]
FILE = ROOT / "search_spaces" / "study.schema.json"
KEYS = ROOT / "docs" / "reference" / "keys.md"
README = ROOT / "README.md"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def write() -> None:
    """Write the schema next to the shipped studies, the page of all keys in docs/, and the README's list of methods."""
    readme = with_glance(README.read_text(encoding="utf-8"))
    for file, text in ((FILE, schema_text()), (KEYS, page()), (README, readme)):
        file.write_text(text, encoding="utf-8")
        typer.echo(str(file))


if __name__ == "__main__":
    app()
