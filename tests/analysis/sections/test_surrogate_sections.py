import dataclasses
import re

import pytest

from analysis.figures.render import Figures
from analysis.ingest.tables import build_tables
from analysis.sections.section import ReportSection
from analysis.sections.surrogate import surrogate_sections
from analysis.stats.sensitivity.cross_validation import fit_and_check
from analysis.stats.sensitivity.external_evidence import first_configuration, published
from analysis.stats.sensitivity.surrogate import fit
from analysis.stats.study import from_tables
from analysis.wording.phrases import listed
from analysis.wording.sensitivity import say_marginals
from tests.analysis.conftest import make_trials
from tests.analysis.made import MIXED, study_of_function
from tests.analysis.stats.test_per_class import FIRST, SECOND, logged
from tests.analysis.stats.test_stats import runs_of


def tables_of(trials, *, data="voc"):
    runs = runs_of(trials)
    for run in runs:
        run.config["trainer"]["data"]["name"] = data
    return build_tables(runs)


def sections_of(study, tables, figures):
    return surrogate_sections(study, tables, figures, fit_and_check(study))


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    tables = tables_of(make_trials(40, seed=1))
    with Figures(tmp_path_factory.mktemp("plots")) as figures:
        return {one.title: one for one in sections_of(from_tables(tables), tables, figures)}


def answered(sections):
    return [one for one in sections.values() if isinstance(one, ReportSection)]


def reading(sections, start):
    return next(one.reading for title, one in sections.items() if title.startswith(start))


def test_every_question_has_a_section_with_its_n(sections):
    starts = (
        "How much does every parameter explain",
        "What does every parameter do at full budget",
        "Which parameters act together",
        "Which parameter is worth tuning, from the first configuration",
        "Which choices are better",
        "What matters round",
        "Which changes lead",
        "How much is lost",
        "Did the rungs stop the right trials",
        "Which trials were stopped too early",
        "How far do seeds differ",
        "Which classes gain",
        "How do seeds spread",
    )
    assert len(sections) == len(starts)
    for start, title in zip(starts, sections, strict=True):
        assert title.startswith(start)


def test_where_trials_were_stopped_the_mean_over_the_space_is_said_to_lean_on_the_others(sections):
    warning = "is less sure than the curves"
    assert warning in reading(sections, "What does every parameter do at full budget")
    whole = fit(study_of_function(lambda values: 50 + values["tau"], MIXED, 20, halving=False), draws=5)
    assert whole.complete == len(whole.trials)
    assert warning not in say_marginals(whole, 0, one_seed=False)


def test_every_figure_is_there_and_says_what_it_shows(sections):
    drawn = [one for one in answered(sections) if one.figure]
    assert len(drawn) == 10
    for one in drawn:
        assert one.figure.stat().st_size > 1000
        assert one.alt


FORECASTS = (
    "Which parameters act together?",
    "Which parameter is worth tuning",
    "Which changes lead from",
    "How much is lost when a parameter is off?",
)
"""Read off the surrogate alone, whose number of scores stands with the first question."""


def test_every_interval_has_its_level(sections):
    for one in answered(sections):
        assert "interval" not in one.reading or "95 %" in one.reading, one.title


def test_every_reading_says_on_how_many_scores_it_rests_but_forecasts_of_the_surrogate(sections):
    without = [one.title for one in answered(sections) if not re.search(r"n = \d+|\d+ (scores|trials)", one.reading)]
    assert len(without) == len(FORECASTS)
    for title, begins in zip(without, FORECASTS, strict=True):
        assert title.startswith(begins)


def test_the_error_of_the_cross_validation_is_printed(sections):
    text = reading(sections, "How much does every parameter explain")
    assert re.search(r"On trials left out its error is \d+\.\d\d .* guessing the mean score has \d+\.\d\d", text)
    assert "Dead" in text


def test_published_differences_are_marked_as_published(sections):
    assert "2 published differences, one seed each" in reading(sections, "What does every parameter do")


def test_another_data_set_has_no_published_table():
    tables = tables_of(make_trials(4), data="digits")
    assert published(from_tables(tables), tables) is None


def test_published_differences_are_those_of_the_paper():
    tables = tables_of(make_trials(4))
    found = published(from_tables(tables), tables)
    assert [round(one.difference, 2) for one in found.pairs] == [0.46, 0.75]
    assert all((one.first, one.second, one.interval) == ("kl", "cr", None) for one in found.pairs)


def tables_of_method(name, data):
    runs = runs_of(make_trials(4))
    for run in runs:
        run.config["trainer"]["data"]["name"] = data
        run.config["trainer"]["method"] = {"name": name}
    return build_tables(runs)


@pytest.mark.parametrize(
    ("method", "data", "parameter", "count"),
    [
        ("alonso", "cityscapes", "method.contrast_weight", 6),
        ("alonso", "cityscapes", "method.memory_size", 4),
        ("pseudoseg", "voc", "method.temperature", 4),
        ("unimatch", "voc", "method.temperature", 0),
    ],
)
def test_a_table_of_one_method_stands_beside_studies_of_that_method_alone(method, data, parameter, count):
    tables = tables_of_method(method, data)
    study = from_tables(tables)
    study = dataclasses.replace(study, space={parameter: next(iter(study.space.values()))})
    found = published(study, tables)
    assert (0 if found is None else len(found.pairs)) == count
    if found is not None:
        assert all("not stated" in one.source for one in found.pairs)


@pytest.mark.parametrize(("tau", "said"), [(0.8, "IPixMatch's defaults (trial 0)"), (0.5, "the first configuration")])
def test_the_start_is_called_the_papers_defaults_only_where_it_has_them(tau, said):
    trials = make_trials(4)
    trials[0]["values"] |= {"interpixel.distance": "kl", "interpixel.tau": tau}
    tables = tables_of(trials)
    study = from_tables(tables)
    assert first_configuration(study, published(study, tables))[1].startswith(said)


def test_of_noise_nothing_is_said_and_nothing_is_drawn(undrawn):
    study = study_of_function(lambda values: 40.0, MIXED, 30, noise=1.0)
    tables = tables_of(make_trials(4))
    first, *others = sections_of(study, tables, undrawn)
    assert "not shown to predict better than a guess of their mean" in first.why
    assert "no number of trials will" in first.what_would
    assert [one.title for one in others][:2] == ["Did the rungs stop the right trials?", "How far do seeds differ?"]


def test_too_few_trials_are_counted_in_words(undrawn):
    tables = tables_of(make_trials(6))
    first = sections_of(from_tables(tables), tables, undrawn)[0]
    assert first.why.startswith("A surrogate needs at least 12 trials")
    assert "here 6 have a score" in first.why


def test_before_the_first_score_there_is_no_section(undrawn):
    trials = [{**one, "curve": {}} for one in make_trials(3)]
    tables = tables_of(trials)
    assert sections_of(from_tables(tables), tables, undrawn) == []


def test_with_several_seeds_classes_and_bands_are_drawn(figures):
    study, tables = logged([FIRST.tolist(), SECOND.tolist()])
    found = {one.title: one for one in sections_of(study, tables, figures)}
    assert "Gains: background. Losses: dog." in found["Which classes gain, and which lose?"].reading
    assert "paired over 5 seeds" in found["Which classes gain, and which lose?"].reading
    for title in ("Which classes gain, and which lose?", "How do seeds spread on the way?", "How far do seeds differ?"):
        assert found[title].figure.stat().st_size > 1000


def test_a_sentence_names_twelve_and_counts_the_others():
    assert listed([f"p{number}" for number in range(12)]).endswith("p10, p11")
    assert listed([f"p{number}" for number in range(40)]).endswith("p11 and 28 others")
