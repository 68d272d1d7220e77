import json
import shutil

import pytest

from analysis.ingest import tables
from analysis.stats.confirm.error_schedule import MOST_EXTENDED
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.results import confirmed
from ipix_tune.config.confirm_section import ConfirmError
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study.confirm_extension import extended, judged, write_extension
from ipix_tune.study.confirm_plan import Confirmation
from tests.ipix_tune.studies import base
from tests.ipix_tune.study.test_run_confirm import confirming, ended, runs_of, searched

__all__ = ["searched"]

PLAN = RacePlan(first_seeds=2, max_seeds=3, comparisons=(("a", "b"),))
FOUND = Confirmation(arms=(), plan=PLAN, order=("a", "b"), first_seed=1)
OPEN = {"a": [70.0, 71.0, 70.2], "b": [70.4, 70.6, 69.9]}
DECIDED = {"a": [80.0, 80.1, 80.05], "b": [70.0, 70.11, 70.04]}


def entries_of(scores, state="complete"):
    return [
        TrialRecord(
            key=f"{arm}{seed}", values={"arm": arm, "seed": seed}, scores={4: one}, state=state, error=None, retries=0
        )
        for arm, of_arm in scores.items()
        for seed, one in enumerate(of_arm)
    ]


def test_more_seeds_are_wanted_of_the_arms_that_are_still_open():
    longer = extended(FOUND, entries_of(OPEN), 2, sign=1)
    assert longer.plan.extensions == (5,)
    assert judged(entries_of(OPEN), longer.plan, sign=1).wanted == (("a", 3), ("b", 3))


def test_an_extended_plan_may_be_extended_again():
    longer = extended(FOUND, entries_of(OPEN), 1, sign=1)
    more = {arm: [*scores, 70.0 + (arm == "a") / 4] for arm, scores in OPEN.items()}
    assert extended(longer, entries_of(more), 2, sign=1).plan.extensions == (4, 6)


def test_what_was_judged_under_the_plan_is_judged_alike_under_its_extension():
    longer = extended(FOUND, entries_of(OPEN), 2, sign=1)
    before, after = (judged(entries_of(OPEN), plan, sign=1).verdicts[0] for plan in (PLAN, longer.plan))
    assert (before.low, before.high, before.kind) == (after.low, after.high, after.kind)


@pytest.mark.parametrize(
    ("scores", "more", "named"),
    [
        ({arm: of_arm[:2] for arm, of_arm in OPEN.items()}, 2, "has not ended"),
        (OPEN, MOST_EXTENDED, f"at most {MOST_EXTENDED} in all are allowed: --more-seeds {MOST_EXTENDED - 3} or fewer"),
        (DECIDED, 2, "nothing is left that more seeds could decide: every comparison is decided"),
    ],
)
def test_an_extension_that_makes_no_sense_is_refused_with_the_reason(scores, more, named):
    with pytest.raises(ConfirmError, match=named):
        extended(FOUND, entries_of(scores), more, sign=1)


def test_the_plans_file_keeps_all_else(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"confirm": {"max_seeds": 3}, "plan": {"max_seeds": 3}, "order": ["a"]}))
    write_extension(extended(FOUND, entries_of(OPEN), 2, sign=1), file)
    assert json.loads(file.read_text()) == {
        "confirm": {"max_seeds": 3},
        "plan": {"max_seeds": 3, "extensions": [5]},
        "order": ["a"],
    }


def played(folder, plan, score):
    """The confirmation's trial store without Ray, from where it stands to its end; the runs that it made."""
    study = StudyConfig.model_validate({**base(), "points": [], "sampler": {"name": "random"}})
    dimensions = {"arm": Dimension(choice=("a", "b")), "seed": Dimension(int=(0, plan.seeds - 1))}
    study = study.model_copy(update={"search": dimensions})

    def wanted(entries):
        return [{"arm": arm, "seed": seed} for arm, seed in judged(entries, plan, sign=1).wanted]

    store = TrialStore(folder, study, SearchSpace(study), total=2 * plan.seeds, rounds=wanted, letter="c")
    made = []
    while (found := store.next()) is not None:
        key, values = found
        made.append((key, values["arm"], values["seed"]))
        store.report(key, epoch=1, score=score(values["arm"], values["seed"]))
        store.end(key, state="complete")
    return made, store.entries()


def test_the_journal_of_an_ended_confirmation_takes_up_the_seeds_of_its_extension(tmp_path):
    def score(arm, seed):
        return 70 + (arm == "a") * (-1) ** seed * 0.9 + 0.1 * seed

    made, entries = played(tmp_path, PLAN, score)
    assert {seed for _, _, seed in made} == {0, 1, 2}
    longer = extended(FOUND, entries, 2, sign=1)
    more, entries = played(tmp_path, longer.plan, score)
    assert {(arm, seed) for _, arm, seed in more} == {(arm, seed) for arm in "ab" for seed in (3, 4)}
    assert not {key for key, _, _ in more} & {key for key, _, _ in made}
    assert len(entries) == 10
    assert played(tmp_path, longer.plan, score)[0] == []


@pytest.mark.slow
def test_a_study_goes_on_with_more_seeds_and_its_tables_know_the_extended_plan(searched, tmp_path):
    place = shutil.copytree(searched, tmp_path / "tiny")
    refused = confirming(place, "--more-seeds", "1")
    assert "no confirmation has begun that --more-seeds could extend" in refused.communicate(timeout=300)[0]
    assert refused.returncode == 2
    ended(confirming(place, "--set", "confirm.delta=0.0001", "--set", "confirm.error=0.0001"))
    before, _ = runs_of(place)
    again = ("--set", "confirm.delta=0.0001", "--set", "confirm.error=0.0001")
    assert "seeds 4 to 4 of" in ended(confirming(place, "--more-seeds", "1", "--dry-run", *again))
    ended(confirming(place, "--more-seeds", "1", *again))
    after, _ = runs_of(place)
    assert before.items() <= after.items()
    assert {seed for _, seed in after.keys() - before.keys()} == {3}
    found = confirmed(tables.load(place))
    assert found.plan.extensions == (4,)
    assert max(max(arm.scores) for arm in found.arms) == 3
    ended(confirming(place, "--resume", *again))
    assert runs_of(place)[0] == after
