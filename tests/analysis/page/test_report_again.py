"""A report of a study that was reported before: what is made again, and that it is what a first report makes."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial

import hypothesis.strategies as st
import numpy as np
import psutil
import pytest
from hypothesis import given

from analysis.compute import cache
from analysis.compute.cache import digest
from analysis.compute.process_pool import workers
from analysis.figures import incumbent, render
from analysis.page.build import build
from analysis.stats.sensitivity import cross_validation
from analysis.stats.sensitivity.cross_validation import fit_and_check
from tests.analysis.conftest import make_trials
from tests.analysis.made import MIXED, study_of_function
from tests.analysis.stats.test_stats import study_of


def page_of(place):
    """Without the line that says when it was made."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", (place / "report.html").read_text())


def figures_of(place):
    """Bytes and time of change of all figures of the page."""
    paths = sorted((place / "plots").glob("*.*g")) + sorted((place / "plots" / "print").glob("*1col.svg"))
    return {path.relative_to(place): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def bytes_of(figures):
    return {name: content for name, (content, _) in figures.items()}


def draw_alone(folder, name, draw):
    with render.Figures(folder) as figures:
        return figures.drawn(name, draw)


@pytest.fixture
def again(built, tmp_path):
    """A copy of a study with its report, as it was left."""
    place = tmp_path / "synthetic"
    shutil.copytree(built, place)
    return place


def no_fit(*arguments, **options):
    raise AssertionError("the surrogate is fitted again")


@pytest.mark.slow
def test_a_study_that_grew_has_the_report_that_it_would_have_had_at_once(built, study_dir, tmp_path):
    place = tmp_path / "synthetic"
    last = next(study_dir.glob("wandb/offline-run-*-t0005"))
    shutil.copytree(study_dir, place, ignore=shutil.ignore_patterns(last.name))
    build(place)
    before = figures_of(place)
    shutil.copytree(last, place / "wandb" / last.name)
    build(place)
    assert bytes_of(figures_of(place)) == bytes_of(figures_of(built))
    assert page_of(place) == page_of(built)
    assert bytes_of(before).keys() == bytes_of(figures_of(built)).keys()
    assert bytes_of(before) != bytes_of(figures_of(built))


def test_of_the_same_logs_no_figure_is_drawn_and_nothing_is_fitted_again(again, monkeypatch):
    before = figures_of(again)
    monkeypatch.setattr(cross_validation, "settle", no_fit)
    build(again)
    assert figures_of(again) == before


def test_the_page_is_the_same_where_figures_and_surrogate_come_from_the_last_report(built, again):
    build(again)
    assert page_of(again) == page_of(built)


@pytest.mark.parametrize("harm", ["figure changed", "figure gone", "record gone", "record broken"])
def test_a_figure_that_is_not_as_it_was_drawn_is_drawn_again(tmp_path, harm):
    progress_of = partial(incumbent.draw, study_of(make_trials()))
    figure = draw_alone(tmp_path, "progress", progress_of)
    before = figure.read_bytes()
    damaged, content = {
        "figure changed": (figure, "<svg/>"),
        "figure gone": (figure, None),
        "record gone": (tmp_path / render.DRAWN, None),
        "record broken": (tmp_path / render.DRAWN, "{"),
    }[harm]
    damaged.unlink() if content is None else damaged.write_text(content)
    draw_alone(tmp_path, "progress", progress_of)
    assert figure.read_bytes() == before
    assert json.loads((tmp_path / render.DRAWN).read_text()).keys() == {"progress-light", "progress-1col"}


def test_another_version_of_the_program_draws_again_and_uses_nothing_that_was_kept(tmp_path, monkeypatch):
    study, plots, keep = study_of(make_trials()), tmp_path / "plots", tmp_path / "surrogate.npz"
    small = study_of_function(lambda values: 40 + values["tau"], MIXED, 14)
    draw_alone(plots, "progress", partial(incumbent.draw, study))
    fit_and_check(small, keep=keep)
    before = (plots / "progress.svg").stat().st_mtime_ns
    draw_alone(plots, "progress", partial(incumbent.draw, study))
    assert (plots / "progress.svg").stat().st_mtime_ns == before
    monkeypatch.setattr(cache, "program", lambda: "another")
    draw_alone(plots, "progress", partial(incumbent.draw, study_of(make_trials())))
    assert (plots / "progress.svg").stat().st_mtime_ns > before
    monkeypatch.setattr(cross_validation, "settle", no_fit)
    with pytest.raises(AssertionError, match="fitted again"):
        fit_and_check(small, keep=keep)


def test_an_error_in_a_figure_that_another_process_draws_is_raised(tmp_path):
    with pytest.raises(AttributeError), workers() as pool, render.Figures(tmp_path, pool=pool) as figures:
        figures.drawn("progress", partial(incumbent.draw, "no study"))


def parts_of(found):
    surrogate, checked = found
    return [getattr(surrogate, name) for name in ("weights", "level", "ends", "noise", "seeds", "mode")], checked


def alike(one, other):
    (ours, our_check), (theirs, their_check) = parts_of(one), parts_of(other)
    return our_check == their_check and all(map(np.array_equal, ours, theirs))


@pytest.fixture(scope="module")
def small():
    return study_of_function(lambda values: 40 + 3 * values["tau"] + np.log10(values["lr"]), MIXED, 16)


@pytest.fixture(scope="module")
def fitted(small):
    return fit_and_check(small)


def test_several_processes_find_the_same_bits_as_one(small, fitted):
    with workers() as pool:
        assert alike(fit_and_check(small, pool=pool), fitted)


def test_what_was_kept_is_what_was_found(small, fitted, tmp_path, monkeypatch):
    keep = tmp_path / "surrogate.npz"
    fit_and_check(small, keep=keep)
    monkeypatch.setattr(cross_validation, "settle", no_fit)
    assert alike(fit_and_check(small, keep=keep), fitted)


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_a_damaged_file_of_what_was_kept_is_made_again(small, fitted, tmp_path, content):
    keep = tmp_path / "surrogate.npz"
    if content == "cut":
        fit_and_check(small, keep=keep)
        content = keep.read_bytes()[:-200]
    keep.write_bytes(content)
    assert alike(fit_and_check(small, keep=keep), fitted)


def test_another_score_at_a_rung_is_fitted_again_and_one_between_rungs_is_not(small, tmp_path, monkeypatch):
    keep = tmp_path / "surrogate.npz"
    fit_and_check(small, keep=keep)
    monkeypatch.setattr(cross_validation, "settle", no_fit)
    between, at_rung = copy.deepcopy(small), copy.deepcopy(small)
    between.trials[0].curve[4] = 17.0
    fit_and_check(between, keep=keep)
    at_rung.trials[0].curve[3] += 0.1
    with pytest.raises(AssertionError, match="fitted again"):
        fit_and_check(at_rung, keep=keep)


@dataclass
class Held:
    one: object
    other: object


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.builds(Held, inner, inner),
)


@given(values, values)
def test_digests_are_equal_where_contents_are_and_only_there(one, other):
    assert digest(one) == digest(copy.deepcopy(one))
    assert (digest(one) == digest(other)) == (repr(one) == repr(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.array([0.0, 1.0]), np.array([1.0, 0.0])),
        (partial(study_of, 1), partial(study_of, 2)),
        (partial(digest, 1), partial(study_of, 1)),
        (make_trials, study_of),
        ({"a", "b"}, ["a", "b"]),
        ({"a", "b"}, {"a"}),
    ],
)
def test_digests_tell_arrays_and_functions_apart(one, other):
    assert digest(one) != digest(other)


def test_the_order_of_a_set_is_not_in_its_digest():
    names = [str(number) for number in range(40)]
    turned = sorted(names, reverse=True)
    assert digest(set(names)) == digest(set(turned)) == digest(frozenset(names))


def test_what_has_no_digest_is_refused():
    with pytest.raises(TypeError):
        digest(object())


def test_no_process_outlives_the_one_that_it_works_for():
    code = (
        "import os, time\nfrom analysis.compute.process_pool import workers\n"
        "with workers() as pool:\n"
        "    found = [pool.submit(os.getpid) for _ in range(8)]\n"
        "    print(*{one.result() for one in found}, flush=True)\n    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    children = [int(text) for text in parent.stdout.readline().split() if int(text) != parent.pid]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 60
    while any(map(psutil.pid_exists, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, children))
