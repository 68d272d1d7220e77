"""What makes seeds differ: against the components that made the scores."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from analysis.sections.section import ReportSection, Unanswered
from analysis.sections.seed_sources import seed_sources_section
from analysis.stats.seed_sources import complete_design, mean_error, seed_sources
from analysis.stats.sensitivity.stopped_early import seed_noise_at
from tests.analysis.made import END, UNIT, make_study

DRAW, INIT, ORDER = ("data.draw.seed",), ("seeds.init",), ("seeds.order",)
NAMES = ("seeds.init", "seeds.order", "data.draw.seed")
LEVELS = {"values": [0, 1, 2, 3]}


def study_of(scores):
    """A grid with these scores: (configurations, initialisations, orders, draws)."""
    seeds = {name: {"kind": "choice", "low": None, "high": None, "choices": [0, 1, 2, 3]} for name in NAMES}
    cells = list(product(*map(range, scores.shape)))
    values = [{"a": float(cell[0]), **dict(zip(NAMES, cell[1:], strict=True))} for cell in cells]
    return make_study({"a": UNIT, **seeds}, values, [{END: float(scores[cell])} for cell in cells])


def made(rng, parts, *, configurations=1, own=1.0, levels=(3, 3, 3)):
    """Normal scores whose variance between seeds has these parts, of which the share ``own`` is each configuration's
    and the rest is common to all."""
    scores = 10.0 * np.arange(configurations).reshape(-1, 1, 1, 1) * np.ones((1, *levels))
    for source, variance in parts.items():
        shape = [count if name in source else 1 for name, count in zip(NAMES, levels, strict=True)]
        scores = scores + math.sqrt(variance * (1 - own)) * rng.standard_normal([1, *shape])
        scores = scores + math.sqrt(variance * own) * rng.standard_normal([configurations, *shape])
    return scores


def part(split, source):
    return next(one for one in split.parts if one.source == source)


def test_a_source_that_makes_nearly_all_is_found_and_the_shares_are_near_the_truth():
    rng = np.random.default_rng(3)
    scores = made(rng, {DRAW: 9.0, NAMES: 1.0}, levels=(3, 3, 40))
    found = seed_sources(study_of(scores), END)
    assert part(found.run, DRAW).share.value == pytest.approx(0.9, abs=0.06)
    assert part(found.run, DRAW).shown
    assert not part(found.run, INIT).shown
    assert found.run.sd.value == pytest.approx(math.sqrt(10), rel=0.25)
    assert sum(one.share.value for one in found.run.parts) == pytest.approx(1)


@pytest.mark.parametrize(
    ("parts", "configurations", "own"),
    [
        ({DRAW: 4.0, INIT: 1.0, ("seeds.order", "data.draw.seed"): 0.5, NAMES: 1.0}, 1, 1.0),
        ({DRAW: 4.0, INIT: 1.0, ("seeds.order", "data.draw.seed"): 0.5, NAMES: 1.0}, 2, 0.3),
        ({NAMES: 1.0}, 2, 0.5),
    ],
)
def test_the_intervals_hold_the_truth_at_their_rate_and_a_source_that_adds_nothing_is_hardly_ever_said_to(
    parts, configurations, own
):
    rng = np.random.default_rng(0)
    total, studies = sum(parts.values()), 80
    hits, false = {}, {}
    for _ in range(studies):
        found = seed_sources(study_of(made(rng, parts, configurations=configurations, own=own)), END)
        for name, split, variance in (("run", found.run, total), ("pair", found.pair, 2 * own * total)):
            if split is None:
                continue
            hits.setdefault((name, "sd"), []).append(split.sd.low <= math.sqrt(variance) <= split.sd.high)
            for one in split.parts:
                truth = parts.get(one.source, 0.0) if one.source else sum(v for k, v in parts.items() if len(k) > 1)
                inside = one.share.low - 1e-9 <= truth / total <= one.share.high + 1e-9
                hits.setdefault((name, one.source), []).append(inside)
                if not truth:
                    false.setdefault((name, one.source), []).append(one.shown)
    assert {key: np.mean(held) for key, held in hits.items() if np.mean(held) < 0.9} == {}
    assert {key: np.mean(wrong) for key, wrong in false.items() if np.mean(wrong) > 0.07} == {}


def test_what_a_seed_does_to_all_configurations_alike_is_no_part_of_their_difference():
    rng = np.random.default_rng(1)
    alike = made(rng, {DRAW: 25.0}, configurations=3, own=0.0, levels=(3, 3, 20))
    scores = alike + made(rng, {INIT: 1.0}, configurations=3, own=1.0, levels=(3, 3, 20))
    found = seed_sources(study_of(scores + 0.1 * rng.standard_normal(scores.shape)), END)
    assert part(found.run, DRAW).share.value > 0.8
    assert part(found.pair, DRAW).share.value < 0.05
    assert found.pair.sd.value < 3 < found.run.sd.value


def test_a_run_that_is_missing_takes_the_level_with_it_that_lacks_most():
    scores = {cell: 0.0 for cell in product(range(3), range(4)) if cell not in {(2, 0), (2, 1)}}
    assert complete_design(scores) == [[0, 1], [0, 1, 2, 3]]
    study = study_of(made(np.random.default_rng(0), {NAMES: 1.0}))
    broken = replace(study, trials=study.trials[:-1])
    found = seed_sources(broken, END)
    assert (found.runs, found.left_out) == (18, 8)
    assert sorted(found.levels.values()) == [2, 3, 3]


def test_the_seeds_are_no_configurations_and_their_standard_deviation_is_that_of_a_run():
    study = study_of(made(np.random.default_rng(0), {DRAW: 4.0, NAMES: 1.0}, configurations=2))
    assert study.parameters == ("a",)
    assert len(study.configurations) == 2
    assert study.seeds_of(study.best()) == 27
    noise, found = seed_noise_at(study, END), seed_sources(study, END)
    assert (noise.value, noise.runs, noise.configs) == (found.run.sd.value, 54, 2)


def test_the_interval_of_a_mean_over_crossed_seeds_holds_though_most_runs_share_a_level():
    """27 runs are no 27 independent ones: by s / sqrt(27) the interval would hold in a third of the studies."""
    from scipy import stats

    rng = np.random.default_rng(0)
    hits = naive = 0
    for _ in range(400):
        scores = made(rng, {DRAW: 4.0, NAMES: 1.0})
        cells = {cell[1:]: float(scores[cell]) for cell in product(*map(range, scores.shape))}
        mean = float(np.mean(list(cells.values())))
        variance, freedom = mean_error(cells)
        hits += abs(mean) <= stats.t.ppf(0.975, freedom) * math.sqrt(variance)
        naive += abs(mean) <= stats.t.ppf(0.975, 26) * scores.std(ddof=1) / math.sqrt(27)
    assert hits / 400 >= 0.93
    assert naive / 400 < 0.6


def test_over_plain_seeds_it_is_the_standard_error():
    variance, freedom = mean_error({0: 1.0, 1: 2.0, 2: 6.0})
    assert (variance, freedom) == (pytest.approx(7 / 3), 2)
    assert mean_error({0: 1.0}) is None


def test_the_section_names_what_is_shown_and_what_is_not(figures):
    rng = np.random.default_rng(5)
    scores = made(rng, {DRAW: 30.0}, configurations=2, own=0.0, levels=(3, 3, 4))
    scores += 0.3 * rng.standard_normal(scores.shape)
    section = seed_sources_section(study_of(scores), figures)
    assert isinstance(section, ReportSection)
    assert "By itself data.draw.seed is shown to add something; seeds.init, seeds.order are not." in section.reading
    levels = "3 values of seeds.init x 3 values of seeds.order x 4 values of data.draw.seed"
    assert section.n == f"72 runs: {levels}, 2 configurations"
    assert [row[0] for row in section.table[1:]][-1] == "in combination alone"


def test_before_two_seeds_have_crossed_the_question_is_listed_as_not_answered(figures):
    study = study_of(made(np.random.default_rng(0), {NAMES: 1.0}))
    section = seed_sources_section(replace(study, trials=study.trials[:2]), figures)
    assert isinstance(section, Unanswered)
    assert "seeds.init and seeds.order and data.draw.seed" in section.why


def test_while_a_crossed_grid_runs_its_leader_has_no_interval_and_the_page_says_so():
    from analysis.ingest.tables import build_tables
    from analysis.stats.study import from_tables
    from analysis.wording.search import answer
    from tests.analysis.stats.test_stats import full, runs_of, trial

    cells = [(0, 0), (0, 1), (1, 0)]
    trials = [
        trial(n, full(40.0 + n), **{"interpixel.tau": 0.5, "seeds.init": i, "seeds.order": o})
        for n, (i, o) in enumerate(cells)
    ]
    tables = build_tables(runs_of(trials))
    assert "mean over 3 runs that share seeds" in answer(from_tables(tables), tables).headline
