import html.parser
import re
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from analysis.figures import curves, parallel, parameters, progress, style
from analysis.logs.offline import read_folder
from analysis.report import build
from analysis.stats.study import from_tables
from analysis.tables import build_tables, load
from tests.analysis.conftest import make_trials
from tests.analysis.test_stats import study_of


@pytest.fixture(scope="module")
def built(study_dir, tmp_path_factory):
    place = tmp_path_factory.mktemp("built") / "synthetic"
    shutil.copytree(study_dir, place)
    (place / "ray").mkdir()
    (place / "ray" / "tuner.pkl").write_bytes(b"anything")
    build(place)
    return place


@pytest.fixture(scope="module")
def page(built):
    return (built / "report.html").read_text()


class Collector(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.alts, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("img", "script", "link", "iframe"):
            self.sources += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.alts.append(given.get("alt"))


def test_the_page_needs_no_network(page):
    found = Collector()
    found.feed(page)
    assert found.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in found.sources)
    assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))


def test_every_image_says_what_it_shows(page):
    found = Collector()
    found.feed(page)
    assert all(found.alts)


def test_with_one_seed_per_configuration_the_winner_is_called_provisional(page):
    assert "Provisional winner" in page
    assert "One seed per configuration" in page


def test_the_page_says_how_many_trials_stand_behind_it(page):
    assert "24 trials (" in page
    assert "All 24 trials" in page
    assert "1 failed" in page


def test_the_page_says_on_which_images_scores_are(page):
    assert "60 training images that were cut off the unlabelled list" in page
    assert "more labels than the labelled split holds" in page


def test_a_failed_trial_is_shown_with_its_error(page):
    assert "loss strong1 is NaN or infinite at step 7 (epoch 2)" in page


def test_kl_against_cr_is_called_an_observation_with_both_counts(page):
    assert re.search(r"KL minus CR after \d epochs?: [+-]\d+\.\d\d, 95 % interval", page)
    assert "this is an observation, not an experiment" in page


def test_figures_are_there_as_png_and_svg_light_and_dark(built):
    names = {path.name for path in (built / "plots").iterdir()}
    for figure in ("progress", "importance", "parameters", "parallel", "kl-cr", "curves"):
        for suffix in (".png", ".svg", "-dark.png", "-dark.svg"):
            assert f"{figure}{suffix}" in names


def test_a_folder_without_rays_state_makes_the_same_tables_and_figures(built, study_dir, tmp_path):
    place = tmp_path / "synthetic"
    shutil.copytree(study_dir, place)
    build(place)
    for path in (built / "plots").glob("*.svg"):
        assert (place / "plots" / path.name).read_bytes() == path.read_bytes()
    assert load(place).runs.equals(load(built).runs)
    assert load(place).history.equals(load(built).history)


@pytest.mark.parametrize("state", ["complete", "stopped", "failed", "interrupted", "running", "crashed"])
def test_a_trial_of_every_state_is_drawn(state):
    trials = [one | {"state": state} for one in make_trials(3)]
    study = study_of(trials)
    for figure in (progress, curves, parameters):
        drawn = figure.draw(study, style.LIGHT)
        legends = [axes.get_legend() for axes in drawn.axes if axes.get_legend()] + drawn.legends
        assert any(state in text.get_text() for legend in legends for text in legend.get_texts())


@pytest.mark.parametrize("figure", [progress, parameters, parallel, curves])
def test_axes_name_the_metric_with_its_unit_and_titles_have_n(study_dir, figure):
    study = from_tables(build_tables(read_folder(study_dir / "wandb")[0]))
    drawn = figure.draw(study, style.LIGHT)
    labels = [axes.get_ylabel() for axes in drawn.axes]
    assert any("mIoU" in label and "(%)" in label for label in labels)
    titles = [drawn.get_suptitle(), *(axes.get_title(loc="left") for axes in drawn.axes)]
    assert any("n = 24 trials" in title for title in titles)


def test_a_logarithmic_parameter_has_a_logarithmic_axis(study_dir):
    study = from_tables(build_tables(read_folder(study_dir / "wandb")[0]))
    drawn = parameters.draw(study, style.LIGHT)
    scales = {axes.get_xlabel().split(" ")[0]: axes.get_xscale() for axes in drawn.axes}
    assert scales["interpixel.alpha"] == "log"
    assert scales["interpixel.tau"] == "linear"


def test_parquet_has_what_the_page_was_made_from(built):
    assert len(pq.read_table(built / "tables" / "runs.parquet")) == 24
    assert load(built).facts["study"] == "synthetic"


def test_a_study_with_a_torn_file_is_reported_with_its_name(study_dir, tmp_path):
    place = tmp_path / "synthetic"
    shutil.copytree(study_dir, place)
    torn = next(place.glob("wandb/*-t0002/run-*.wandb"))
    torn.write_bytes(torn.read_bytes()[:-40])
    text = build(place).read_text()
    assert "Log files that could not be read whole" in text
    assert torn.name in text


def run_command(*arguments):
    return subprocess.run([sys.executable, "-m", "analysis.report", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("content", [None, "empty", "no runs"])
def test_a_folder_without_logs_is_refused_with_code_2_and_no_traceback(tmp_path, content):
    place = tmp_path / "voc"
    if content is not None:
        place.mkdir()
    if content == "no runs":
        (place / "wandb").mkdir()
    done = run_command(str(place))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert str(place) in done.stderr


CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [360, 1280, 2200])
def test_the_page_renders_in_chromium_without_sideways_scrolling(built, tmp_path, width):
    probe = tmp_path / "probe.html"
    script = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth;</script>"
    probe.write_text((built / "report.html").read_text().replace("</body>", f"{script}</body>"))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom", probe.as_uri(),
        ],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    wide, window = map(int, re.search(r"<title>(\d+) (\d+)</title>", done.stdout).groups())
    assert wide <= window
    assert "CONSOLE" not in done.stderr
