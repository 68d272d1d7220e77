import json
import sys
from pathlib import Path

import pytest

from benchmarks.anytime import Problem, Race, read_raw
from benchmarks.helpers.search_problems import EPOCHS
from benchmarks.peers.__main__ import take_reference
from benchmarks.peers.race import AGENTS, Agent, PeerError, PeerRace, neutral

PAUSING = """
import random, sys
sys.path.insert(0, {agents!r})
from serve import serve

class Search:
    # every configuration is trained for one epoch and paused; every fourth goes on to the end
    def __init__(self, *, space, seed, epochs, workers, prior):
        self.space, self.epochs, self.rng = space, epochs, random.Random(seed)
        self.values, self.again, self.heard = {{}}, [], []

    def ask(self):
        if self.again:
            number = self.again.pop()
            return number, self.values[number], self.epochs
        number = len(self.values)
        self.values[number] = {{one["name"]: self.draw(one) for one in self.space}}
        return number, self.values[number], 1

    def draw(self, one):
        if one["kind"] == "choice":
            return self.rng.choice(one["choices"])
        return self.rng.uniform(one["low"], one["high"])

    def tell(self, number, epoch, scores):
        if epoch == 1 and number % 4 == 0:
            self.again.append(number)
        assert len(scores) == (1 if epoch == 1 else epoch - 1)

class Twice(Search):
    # asks for the same configuration again while it is being trained
    def ask(self):
        self.again = [0] if self.values else []
        return super().ask()

def fails(**settings):
    raise ValueError("no such search here")

serve({{"pausing": Search, "fails": fails, "twice": Twice}})
"""


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "pausing.py"
    file.write_text(PAUSING.format(agents=str(AGENTS)))
    return file


def followed(script, *, target, variant="pausing", **settings):
    one = Problem("power", 3)
    agent = Agent(Path(sys.executable), str(script), script.with_suffix(".log"))
    try:
        return PeerRace(problem=one, agent=agent, race=Race(target=target), **settings).run(
            variant, search=one.plain, prior=None
        )
    finally:
        agent.end()


def test_a_configuration_that_was_paused_goes_on_at_no_cost_for_what_it_has_behind_it(script):
    race = followed(script, target=-1e9)
    # trial 0 is paused after the first of four epochs and goes on at once: 26 more for it, beside three other workers
    assert race.ended[0].epochs == race.epochs
    assert race.epochs == 4 * (EPOCHS - 1) + 1


def test_a_peers_race_ends_with_what_is_worth_the_target(script):
    race = followed(script, target=55.0)
    assert race.won
    assert race.epochs == race.ended[-1].epochs
    assert all(end.worth < 55.0 for end in race.ended[:-1])


def test_a_peers_failure_is_told(script):
    with pytest.raises(PeerError, match="no such search here"):
        followed(script, target=55.0, variant="fails")


def test_a_configuration_is_not_trained_twice_at_the_same_time(script):
    with pytest.raises(PeerError, match="configuration 0, which is being trained"):
        followed(script, target=55.0, variant="twice")


def test_what_a_projects_import_takes_is_no_part_of_a_race(script):
    agent = Agent(Path(sys.executable), str(script), script.with_suffix(".log"))
    try:
        assert agent.cpu > 0
    finally:
        agent.end()


def test_a_target_is_taken_from_another_file_where_it_has_been_computed(tmp_path):
    row = {"family": "power", "seed": 3, "search": "reference", "target": 60.0, "median": 30.0}
    other, raw = tmp_path / "ours.jsonl", tmp_path / "raw.jsonl"
    other.write_text(json.dumps(row) + "\n")
    found: dict = {}
    take_reference(found, raw, Problem("power", 3), [tmp_path / "none.jsonl", other])
    assert read_raw(raw) == found == {("power", 3, "reference"): row}


def test_a_space_is_described_with_its_conditions():
    found = {one["name"]: one for one in neutral(Problem("kernel", 0).plain)}
    assert found["power_t"] == {
        "name": "power_t",
        "only_if": {"learning_rate": ["invscaling"]},
        "kind": "float",
        "low": 0.1,
        "high": 1.0,
        "log": False,
    }
    assert found["n_components"]["kind"] == "int"
    assert found["n_components"]["log"]
    assert found["learning_rate"]["choices"] == ["constant", "invscaling"]
