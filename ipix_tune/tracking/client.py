"""W&B's client as this package uses it: its settings, whether its server answers, its end."""

import urllib.error
import urllib.request
from typing import Any

FLUSH_S = 0.2
"""Seconds after which a logged epoch is on disk."""
ANSWER_S, INIT_S, FINISH_S = 5.0, 20.0, 20.0
"""How long the server may take to answer at all, to open a run, and to take in the rest of one that ends. It is all on
disk anyway."""


def client_settings(*, sweep: str | None = None) -> Any:
    """How W&B's client treats a run; ``sweep``: the id of the W&B sweep that it belongs to."""
    import wandb

    return wandb.Settings(
        x_transaction_log_flush_interval=FLUSH_S,
        console="off",
        silent=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,  # for every run the client reads all packages; `origin` has the versions
        disable_git=True,
        disable_code=True,
        init_timeout=INIT_S,
        finish_timeout=FINISH_S,
        finish_timeout_raises=True,
        sweep_id=sweep,
    )


def ask_server() -> None:
    """Raises OSError where the server does not answer, which its client would take minutes to say."""
    import wandb

    try:
        urllib.request.urlopen(wandb.setup().settings.base_url, timeout=ANSWER_S).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise


def first_line(error: Exception) -> str:
    """What an error says, without its details."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def teardown() -> None:
    """End the client's service, once all files are whole."""
    import wandb

    wandb.teardown()
