"""What pages say can be done: links lead somewhere, commands are taken, YAML has keys that exist."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import typer
from ruamel.yaml import YAML

from ipix_tune.cli.main import COMMANDS
from ipix_tune.config.key_page import all_keys
from ipix_tune.trainer.own.at_a_glance import method_names, with_glance
from trainers.methods.registry import BUILDERS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "search_spaces/*.md", "presets/*.md", "benchmarks/results/*.md")
    for page in ROOT.glob(pattern)
)
sys.path.insert(0, str(ROOT / "docs" / "_site"))
import error_pages  # noqa: E402
import outside  # noqa: E402

MODULES = {"ipix_tune.sweep": "ipix_tune.cli.sweep", "analysis.report": "analysis.report", "trainers.train": None}


def blocks(page, *languages):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^ *```(?:{'|'.join(languages)})\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def anchors(page):
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    text = outside.FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    broken = []
    for link in outside.LINK.finditer(text):
        if "://" in link["target"]:
            continue
        file = outside.in_repository(PurePosixPath(page), link["target"])
        there = (ROOT / file).exists() or str(file).startswith("docs/reference/errors/") or file.name == "commands.md"
        heading = (link["place"] or "#")[1:]
        if not there or (heading and file.suffix == ".md" and heading not in anchors(file)):
            broken.append(link[0])
    assert broken == []


def commands():
    found = {}
    for page in PAGES:
        for block in blocks(page, "sh", "bash", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|(?= )", line):
                    words = shlex.split(part.strip(), comments=True)
                    if words and words[0] == "$":
                        words = words[1:]
                    if words and Path(words[0]).name == "ipix-tune":
                        found.setdefault(tuple(words[1:]), page)
                    elif words[1:2] == ["-m"] and words[2] in MODULES:
                        found.setdefault((words[2], *words[3:]), page)
    return [pytest.param(words, id=f"{page}: {' '.join(words)}") for words, page in found.items()]


@pytest.mark.parametrize("words", commands())
def test_a_command_of_a_page_is_one_that_the_program_takes(words):
    name, *given = words
    module = MODULES[name] if name in MODULES else COMMANDS[name][0]
    if module is not None:
        typer.main.get_command(importlib.import_module(module).app).make_context(name, given)


def names_of(*titles):
    return {key.name.removeprefix("trainer.") for title in titles for key in all_keys()[title]}


STUDY, TRAINING = names_of("Study file"), names_of("Training config")
OWN = names_of("A command as trainer", "A function as trainer")


def known(names, path):
    """A key, or a section of keys."""
    return any(name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for name in names)


def yaml_blocks():
    return [
        pytest.param(text, id=f"{page}: {number}")
        for page in PAGES
        if page.parts[0] in ("README.md", "docs", "search_spaces", "presets")
        for number, text in enumerate(blocks(page, "yaml"))
    ]


@pytest.mark.parametrize("text", yaml_blocks())
def test_yaml_of_a_page_has_keys_that_exist(text):
    text = re.sub(r"\{\.\.\.\}|, \.\.\.\}", "{}" if "{...}" in text else "}", text)
    content = YAML(typ="safe").load(text)
    unknown = []
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "trainer":
            fields = value or {}
            names = OWN if {"command", "function"} & set(fields) else TRAINING | {"base"}  # of our own trainer
            unknown += [f"trainer.{one}" for one in fields if not known(names, one)]
        elif not known(STUDY | TRAINING | OWN, key.split(".")[0]):
            unknown.append(key)
    assert unknown == []


def test_every_page_in_docs_is_in_the_sites_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"([\w./-]+\.md)\b", text[text.index("\nnav:") :]))
    pages = {str(page.relative_to("docs")) for page in PAGES if page.parts[0] == "docs"}
    assert pages <= listed
    assert {one for one in listed - pages if not one.startswith("repository/")} == {
        "reference/commands.md",
        "reference/errors/index.md",
    }


def test_every_kind_of_error_has_a_page_that_says_how_a_command_ends():
    pages = error_pages.pages()
    assert {"ConfigError.md", "DataError.md", "OutOfMemory.md", "ClusterError.md", "LogsError.md"} <= set(pages)
    assert "exit code 1" in pages["OutOfMemory.md"]
    assert "exit code 2" in pages["ConfigError.md"]
    assert "exit code 2" in pages["LogsError.md"]
    assert "exit code" not in pages["PlanError.md"]
    assert all(f"[{name.removesuffix('.md')}](" in pages["index.md"] for name in pages if name != "index.md")


def test_an_errors_page_has_the_words_of_its_messages():
    assert "cannot be locked" in error_pages.pages()["FolderError.md"]


def test_the_readmes_list_of_methods_is_current():
    readme = (ROOT / "README.md").read_text()
    assert with_glance(readme) == readme, "make it anew with: ipix-tune schema"


def test_the_readmes_list_names_every_method_of_the_registry():
    called = method_names()
    assert list(called) == list(BUILDERS)
    assert {"alonso": "Alonso et al.", "u2pl": "U2PL", "stpp": "ST++"}.items() <= called.items()
    readme = (ROOT / "README.md").read_text()
    assert all(name in readme for name in called.values())


def test_the_readmes_tree_names_every_folder_of_the_repository():
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("## What is where") : readme.index("## Read on")]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    folders = {line.partition("/")[0] for line in listed.splitlines() if "/" in line and not line.startswith(".")}
    assert folders == set(re.findall(r"^(\w+)/", tree, re.MULTILINE)) or not folders
