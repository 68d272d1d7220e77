"""All keys of study files and training configs, for `ipix-tune keys` and for docs/reference/keys.md."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import BaseModel

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.command.command_config import CommandRun, CommandSection
from ipix_tune.trainer.function import FunctionRun, FunctionSection
from ipix_tune.trainer.own.keys import own_key_list
from ipix_tune.trainer.own.trainer import OwnTrainer
from trainers.common.errors import ConfigError, did_you_mean
from trainers.common.key_list import Key, keys_in

STUDY = "Study file"
TRAINING = "Training config"
COMMAND = "A command as trainer"
FUNCTION = "A function as trainer"
INTRODUCTIONS = {
    STUDY: "What a study file holds beside `trainer`. `search.<key>` is a dimension by the dotted name of a training "
    "config key, such as `search.optim.lr`; it has exactly one of the kinds.",
    TRAINING: "In a training config these stand at the top. In a study file they stand below `trainer`, and `search`, "
    "`points` and `confirm` name them as here.",
    COMMAND: "The `trainer` section of a study of your own program: [add-a-trainer.md](../how-to/add-a-trainer.md).",
    FUNCTION: "The `trainer` section of a study of your own Python function.",
}


def all_keys() -> dict[str, list[Key]]:
    """Every key, by the kind of file or section that it stands in."""
    own = OwnTrainer()
    training = [
        key if (why := own.unsearchable(key.name)) is None else replace(key, meaning=_with(key.meaning, why))
        for key in own_key_list()
    ]
    return {
        STUDY: keys_in(StudyConfig, without=frozenset({"trainer"})),
        TRAINING: training,
        COMMAND: _described(CommandSection, CommandRun),
        FUNCTION: _described(FunctionSection, FunctionRun),
    }


def _described(section: type[BaseModel], run: type[BaseModel]) -> list[Key]:
    """Keys of a section, which are told where a run has them too."""
    told = {key.name: key.meaning for key in keys_in(run, prefix="trainer.")}
    keys = keys_in(section, prefix="trainer.")
    return [replace(key, meaning=key.meaning or told.get(key.name, "")) for key in keys]


def _with(meaning: str, why: str) -> str:
    return f"{meaning} Cannot be searched: {why}.".strip()


def keys_below(prefix: str) -> dict[str, list[Key]]:
    """Those whose dotted name is or begins with ``prefix``. `trainer.` before a training config's key may be given.

    Raises:
        ConfigError: there is none; with the nearest name.
    """
    found = {title: [key for key in keys if _below(key.name, prefix)] for title, keys in all_keys().items()}
    short = prefix.removeprefix("trainer.")
    found[TRAINING] = found[TRAINING] or [key for key in all_keys()[TRAINING] if _below(key.name, short)]
    if not any(found.values()):
        names = dict.fromkeys(part for keys in all_keys().values() for key in keys for part in _sections(key.name))
        ends = [f'"{name}"' for name in names if name.rsplit(".", 1)[-1] == short.rsplit(".", 1)[-1]]
        hint = f"; did you mean {' or '.join(ends)}?" if ends else did_you_mean(short, names)
        raise ConfigError(f"{prefix}: no key is called that or begins with it{hint}")
    return {title: keys for title, keys in found.items() if keys}


def _below(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix.rstrip(".") + ".")


def _sections(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def in_words(found: dict[str, list[Key]]) -> Iterator[str]:
    """Lines for a terminal: name, type and default; the meaning below."""
    for title, keys in found.items():
        yield f"# {title}"
        for key in keys:
            yield key.name + (f"   (of {', '.join(key.variants)})" if key.variants else "")
            yield f"    {key.type}; {_default(key)}"
            if key.meaning:
                yield f"    {key.meaning}"
        yield ""


def _default(key: Key) -> str:
    return key.default if key.required else f"default: {key.default}"


def page() -> str:
    """The text of docs/reference/keys.md."""
    lines = [
        "# Keys",
        "",
        "Every key of a study file and of a training config: type with its range, default, meaning. Made by",
        "`ipix-tune keys --out docs/reference/keys.md` from the code that reads the files; `ipix-tune keys optim`",
        "prints a part of it. How the parts of a study file work together is in",
        "[the study file](../../search_spaces/README.md).",
        "",
    ]
    for title, keys in all_keys().items():
        lines += [f"## {title}", "", INTRODUCTIONS[title], ""]
        for section in dict.fromkeys(_section(key) for key in keys):
            lines += [f"### {_heading(section)}", "", *_table([key for key in keys if _section(key) == section]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(key: Key) -> str:
    return key.name.rpartition(".")[0]


def _heading(section: str) -> str:
    return f"`{section}`" if section else "At the top"


def _table(keys: Sequence[Key]) -> Iterator[str]:
    yield "| key | type and range | default | meaning |"
    yield "|---|---|---|---|"
    for key in keys:
        of = f" ({', '.join(key.variants)})" if key.variants else ""
        default = key.default if key.required else f"`{_cell(key.default)}`"
        yield f"| `{key.name}`{of} | {_cell(key.type)} | {default} | {_cell(key.meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
