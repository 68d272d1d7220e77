"""`ipix-tune keys` and docs/reference/keys.md say of every key what the code that reads files does with it."""

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from ipix_tune.cli.keys import app
from ipix_tune.config.key_page import TRAINING, all_keys, in_words, keys_below, page
from ipix_tune.trainer.own.keys import train_leaves
from trainers.common.depends_on import OnlyIf
from trainers.common.errors import ConfigError
from trainers.common.key_list import REQUIRED, keys_in
from trainers.common.section import Section

ROOT = Path(__file__).parents[3]


class Cat(Section):
    name: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)] = 9
    """How often."""


class Dog(Section):
    name: Literal["dog"]
    size: float | None = None


class Home(Section):
    pet: Annotated[Cat | Dog, Field(discriminator="name")]
    heat: Annotated[float, Field(gt=0), OnlyIf({"season": "winter"})] = 20.0
    """Degrees."""
    season: Literal["summer", "winter"] = "summer"


def row(name):
    return next(key for key in keys_in(Home) if key.name == name)


def test_the_page_in_docs_is_current():
    written = (ROOT / "docs" / "reference" / "keys.md").read_text()
    assert written == page(), "make it anew with: ipix-tune keys --out docs/reference/keys.md"


def test_every_leaf_of_the_training_config_is_listed_with_its_meaning():
    listed = all_keys()[TRAINING]
    assert {key.name for key in listed} >= set(train_leaves())
    assert [key.name for key in listed if not key.meaning] == []


def test_every_meaning_can_be_read_alone():
    """What is said of all keys, such as why one cannot be searched, is no meaning, nor is half a sentence."""
    said_of_all = r"(Cannot be searched:|Has an effect only where).*"
    meanings = {key.name: re.sub(said_of_all, "", key.meaning).strip() for keys in all_keys().values() for key in keys}
    assert [name for name, said in meanings.items() if not said or said.startswith("...")] == []


def test_a_number_has_its_range_and_its_default():
    assert (row("pet.lives").type, row("pet.lives").default) == ("whole number ≥ 1, ≤ 9", "9")
    assert row("pet.size").type == "number, or null"


def test_a_key_of_one_kind_of_section_says_which():
    assert row("pet.lives").variants == ("cat",)
    assert row("season").variants == ()


def test_the_kind_of_a_section_is_a_key_that_must_be_given():
    assert (row("pet.name").type, row("pet.name").default) == ("cat | dog", REQUIRED)


def test_a_condition_stands_with_the_meaning():
    assert row("heat").meaning == "Degrees. Has an effect only where season is winter."


def test_keys_of_a_study_file_and_of_a_training_config_are_found_by_prefix():
    assert {key.name for keys in keys_below("scheduler").values() for key in keys} >= {"scheduler.grace_epochs"}
    assert keys_below("trainer.optim") == keys_below("optim")
    assert [key.name for keys in keys_below("optim.lr").values() for key in keys] == ["optim.lr"]


def test_a_key_that_no_search_may_vary_says_so():
    assert "Cannot be searched: it is the fidelity" in "\n".join(in_words(keys_below("schedule.epochs")))


def test_a_prefix_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r'method\.clip_norm: no key .*did you mean "optim.clip_norm"'):
        keys_below("method.clip_norm")


def test_the_command_prints_the_keys_below_a_prefix_with_their_meaning():
    found = CliRunner().invoke(app, ["budget.trials"])
    assert found.exit_code == 0
    assert "\nbudget.trials\n" in found.output
    assert "optim.lr" not in found.output


def test_the_command_writes_the_page_of_all_keys_and_of_no_part(tmp_path):
    out = tmp_path / "keys.md"
    assert CliRunner().invoke(app, ["--out", str(out)]).exit_code == 0
    assert out.read_text() == page()
    refused = CliRunner().invoke(app, ["optim", "--out", str(out)])
    assert isinstance(refused.exception, ConfigError)
    assert "leave the prefix out" in str(refused.exception)
