"""A confirmation's trial store without Ray: rounds are asked for when the last has ended, and nothing runs twice."""

import random

from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import judge
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_store import TrialStore
from tests.ipix_tune.studies import base

PLAN = RacePlan(max_seeds=6, comparisons=(("a", "b"), ("a", "c")), delta=0.3)
EFFECT = {"a": 3.0, "b": 0.0, "c": 2.9}


def score(arm, seed):
    return 70 + EFFECT[arm] + random.Random(f"{seed}").gauss(0, 2) + random.Random(f"{arm}{seed}").gauss(0, 0.3)


def next_round(entries):
    scores, failed = {}, []
    for entry in entries:
        arm, seed = entry.values["arm"], entry.values["seed"]
        if entry.state == "complete":
            scores.setdefault(arm, {})[seed] = entry.scores[1]
        elif entry.state == "failed":
            failed.append((arm, seed))
    return [{"arm": arm, "seed": seed} for arm, seed in judge(scores, PLAN, failed=failed).wanted]


def trial_store(folder):
    dimensions = {"arm": Dimension(choice=("a", "b", "c")), "seed": Dimension(int=(0, 5))}
    study = StudyConfig.model_validate({**base(), "points": [], "sampler": {"name": "random"}})
    study = study.model_copy(update={"search": dimensions})
    return TrialStore(folder, study, SearchSpace(study), total=18, rounds=next_round, letter="c")


def played(store, *, at_once=2, stop_after=10**6, fails=frozenset()):
    """Runs ended one by one in a shuffled order, ``at_once`` open at a time; `stop_after` asks."""
    rng, open_, asks, order = random.Random(0), [], 0, []
    while True:
        while len(open_) < at_once and asks < stop_after:
            found = store.next()
            if found is None:
                break
            asks += 1
            open_.append(found)
            order.append((found[1]["arm"], found[1]["seed"]))
        if not open_ or asks >= stop_after:
            return order
        key, values = open_.pop(rng.randrange(len(open_)))
        run = (values["arm"], values["seed"])
        if run in fails:
            store.end(key, state="failed", error="it was to fail")
        else:
            store.report(key, epoch=1, score=score(*run))
            store.end(key, state="complete")


def test_runs_come_in_paired_rounds_and_end_when_the_race_is_over(tmp_path):
    store = trial_store(tmp_path)
    order = played(store)
    assert sorted(order[:9]) == [(arm, seed) for arm in "abc" for seed in range(3)]
    assert len(order) == len(set(order))
    assert next_round(store.entries()) == []
    assert store.remaining == 0


def test_while_a_round_runs_the_journal_waits_and_is_not_over(tmp_path):
    store = trial_store(tmp_path)
    for _ in range(9):
        store.next()
    assert store.next() is None
    assert store.waits
    assert store.remaining > 0


def test_a_failed_run_is_not_asked_for_again(tmp_path):
    order = played(trial_store(tmp_path), fails={("a", 1), ("b", 4)})
    assert order.count(("a", 1)) == 1
    assert len(order) == len(set(order))


def test_killed_at_any_run_and_resumed_the_same_runs_are_made_once_each(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = trial_store(tmp_path / "whole")
    played(whole)
    reference = {(entry.values["arm"], entry.values["seed"]): (entry.scores, entry.state) for entry in whole.entries()}
    for stop in range(1, len(reference) + 1):
        folder = tmp_path / f"killed-{stop}"
        folder.mkdir()
        played(trial_store(folder), stop_after=stop)
        played(trial_store(folder))
        entries = trial_store(folder).entries()
        found = {(entry.values["arm"], entry.values["seed"]): (entry.scores, entry.state) for entry in entries}
        assert found == reference
        assert len(entries) == len(reference)
        assert len({entry.key for entry in entries}) == len(entries)


def test_keys_do_not_meet_those_of_the_search(tmp_path):
    key, values = trial_store(tmp_path).next()
    assert (key, values) == ("c0000", {"arm": "a", "seed": 0})
