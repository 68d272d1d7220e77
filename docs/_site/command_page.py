"""The page of all commands, from the typer apps themselves."""

import importlib
import re
from typing import Any

import typer

from ipix_tune.cli.main import COMMANDS


def page() -> str:
    """Markdown: one section a command, with its arguments and options."""
    lines = [
        "# Commands",
        "",
        "Every command of `ipix-tune`, made from the program itself. `ipix-tune COMMAND --help` prints the same.",
        "",
        "Exit codes: 0, all went well; 1, the work went wrong; 2, a mistake that you can mend, with one line that says",
        "how ([errors](errors/index.md)); 130, interrupted.",
        "",
    ]
    for name, (module, _line) in COMMANDS.items():
        command: Any = typer.main.get_command(importlib.import_module(module).app)
        lines += [f"## ipix-tune {name}", "", *_section(f"ipix-tune {name}", command), ""]
    return "\n".join(lines)


def _section(called: str, command: Any) -> list[str]:
    context = command.make_context(called, [], resilient_parsing=True)
    lines = [*(command.help or "").strip().splitlines(), "", "```text", command.get_usage(context).strip(), "```"]
    records = [one.get_help_record(context) for one in command.params if not one.hidden and "--help" not in one.opts]
    if records:
        lines += ["", "| argument or option | meaning |", "|---|---|"]
        lines += [f"| `{_name(names)}` | {_cell(meaning)} |" for names, meaning in records]
    return lines


def _name(text: str) -> str:
    """On one line, as a cell of a table. What may be given several times is <path> ...; typer writes <list[Path]>."""
    several = re.sub(r"<list\[(\w+)\]>", lambda found: f"<{found[1].lower()}> ...", text)
    return " ".join(several.split()).replace("|", "\\|")


def _cell(text: str) -> str:
    return _name(text).replace("<", "&lt;")
