"""The files by which a public project is read, licensed, cited and released say the same, and name what exists."""

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GITHUB = sorted((ROOT / ".github").rglob("*.yml"))
OTHERS = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml"]


SCHEMAS = {
    ".github/workflows/ci.yml": "github-workflows",
    ".github/workflows/release.yml": "github-workflows",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    ".github/ISSUE_TEMPLATE/fault.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/wish.yml": "github-issue-forms",
    "CITATION.cff": "citation-file-format",
}


def targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def loaded(path):
    return YAML(typ="safe").load(path.read_text())


def test_citation_and_changelog_speak_of_the_packages_version():
    assert loaded(ROOT / "CITATION.cff")["version"] == PROJECT["version"]
    notes = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert PROJECT["version"] == next(name for name in notes if name != "Unreleased")


def test_the_licence_is_the_same_everywhere():
    assert PROJECT["license"] == loaded(ROOT / "CITATION.cff")["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("path", GITHUB + OTHERS, ids=lambda path: path.name)
def test_it_is_yaml(path):
    assert isinstance(loaded(path), dict)


@pytest.fixture(scope="module")
def schemas():
    """The folder of schemas that check-jsonschema brings, so that none is fetched."""
    pytest.importorskip("check_jsonschema", reason="the schemas are in check-jsonschema: pip install -e '.[dev]'")
    return resources.files("check_jsonschema.builtin_schemas.vendor")


def faults(schemas, name, content):
    schema = json.loads((schemas / f"{SCHEMAS[name]}.json").read_text())
    return [error.message for error in validator_for(schema)(schema).iter_errors(content)]


def test_every_file_of_github_has_a_schema():
    assert {str(path.relative_to(ROOT)) for path in GITHUB} | {"CITATION.cff"} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_file_is_valid_under_its_public_schema(schemas, name):
    assert faults(schemas, name, loaded(ROOT / name)) == []


def test_a_workflow_with_a_misspelt_key_is_not_valid(schemas):
    workflow = loaded(ROOT / ".github/workflows/ci.yml")
    workflow["jobs"]["docs"]["run-on"] = workflow["jobs"]["docs"].pop("runs-on")
    assert faults(schemas, ".github/workflows/ci.yml", workflow)


def test_contributing_names_every_target_of_the_makefile_and_no_other():
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named == targets() - {"clean"}


def test_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`([a-z_./-]+/(?:[a-z_.]+)?)`", text)
    made = {"studies/digits", "dist/", "site/", "tables/"}
    assert [name for name in links if name not in made and not (ROOT / name).exists()] == []


def test_the_release_is_built_by_a_target_of_the_makefile_after_the_tests():
    jobs = loaded(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    asked = [step["run"] for job in jobs.values() for step in job["steps"] if step.get("run", "").startswith("make")]
    assert asked == ["make test PYTHON=python", "make dist PYTHON=python"]
    assert {"test", "dist"} <= targets()
    assert jobs["release"]["needs"] == "test"


def test_pre_commit_checks_what_ci_checks():
    hooks = {hook["id"] for repo in loaded(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert {"ruff-check", "ruff-format", "mypy", "codespell", "check-yaml", "check-toml"} <= hooks
