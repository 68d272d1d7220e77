"""`ipix-tune keys [PREFIX]`: the keys of study files and training configs, with type, range, default and meaning."""

from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def keys(
    prefix: Annotated[
        str, typer.Argument(help="Only keys that begin so, such as optim, method.conf_thresh or budget.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write the page of all keys (docs/reference/keys.md) there instead.")
    ] = None,
) -> None:
    """List keys with type, range, default and meaning."""
    from ipix_tune.config.key_page import in_words, keys_below, page
    from trainers.common.errors import ConfigError

    if out is not None:
        if prefix:
            raise ConfigError("--out writes the page of all keys; leave the prefix out")
        out.write_text(page(), encoding="utf-8")
        typer.echo(str(out))
        return
    for line in in_words(keys_below(prefix)):
        typer.echo(line)


if __name__ == "__main__":
    run(app)
