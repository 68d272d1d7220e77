import html
import html.parser
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML

from analysis.columns import key_of
from analysis.figures import incumbent, learning_curves, parallel, parameters, style
from analysis.ingest.tables import build_tables, load
from analysis.ingest.wandb_files import read_folder
from analysis.page.build import build, render
from analysis.stats.study import from_tables
from analysis.wording.answer_type import Headline
from analysis.wording.search import answer
from tests.analysis.chromium import CHROMIUM, Browser
from tests.analysis.conftest import make_trials
from tests.analysis.stats.test_stats import runs_of, study_of


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
    assert all(source.startswith("data:image/svg+xml") for source in found.sources)
    without_names = re.sub(r"xmlns(:xlink)?='http://www\.w3\.org/[0-9a-z/]+'", "", page)
    assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", without_names))


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
    assert "it saw more labels than the labelled list has" in page


def test_a_failed_trial_is_shown_with_its_error(page):
    assert "loss strong1 is NaN or infinite at step 7 (epoch 2)" in page


def test_kl_against_cr_is_called_what_tuning_made_of_them_with_both_counts(page):
    assert re.search(r"KL minus CR after \d epochs?: [+-]\d+\.\d\d, 95 % interval", page)
    assert "this compares what tuning made of the two" in page


def test_figures_are_there_as_png_and_svg(built):
    names = {path.name for path in (built / "plots").iterdir()}
    for figure in ("progress", "sensitivity", "parameters", "parallel", "kl-cr", "curves"):
        for suffix in (".png", ".svg"):
            assert f"{figure}{suffix}" in names


@pytest.mark.slow
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
    for figure in (incumbent, learning_curves, parameters):
        drawn = figure.draw(study, style.LIGHT)
        legends = [axes.get_legend() for axes in drawn.axes if axes.get_legend()] + drawn.legends
        assert any(state in text.get_text() for legend in legends for text in legend.get_texts())


@pytest.mark.parametrize("figure", [incumbent, parameters, parallel, learning_curves])
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
    for number in range(6):
        source = next(study_dir.glob(f"wandb/*-t{number:04d}"))
        shutil.copytree(source, place / "wandb" / source.name)
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


def test_the_answer_is_called_provisional_in_its_first_line_and_says_that_it_has_no_interval(page):
    headline = re.search(r'<p class="headline">(.*?)</p>', page)[1]
    assert headline.startswith("Provisional winner: trial ")
    assert "1 seed, so that it has no interval" in headline


def test_a_confirmed_winner_takes_the_place_of_the_provisional_one(built):
    tables = load(built)
    run_id = tables.runs["run_id"].to_pylist()[5]
    said = Headline(
        headline="A is better than B by 0.8",
        question="Is A better than B?",
        trust="12 paired seeds",
        shown="A, confirmed",
        rule="the leader",
        cost="Confirmation: 24 runs.",
        confirmed=True,
        key=key_of(run_id),
    )
    found = answer(from_tables(tables), tables, confirmed=said)
    assert (found.headline, found.trust, found.best.run_id) == (said.headline, said.trust, run_id)
    assert (found.question, found.shown, found.rule) == (said.question, said.shown, said.rule)
    assert found.cost.startswith("Search: ")
    assert found.cost.endswith(said.cost)
    assert not found.provisional


def test_the_training_config_to_copy_is_the_one_that_was_logged(page):
    text = html.unescape(re.search(r'<pre id="config"[^>]*>(.*?)</pre>', page, re.DOTALL)[1])
    assert YAML(typ="safe").load(text) == {
        "seed": 0,
        "data": {"holdout": {"images": 60, "source": "unlabelled", "seed": 0}},
    }


def test_one_next_step_stands_below_the_headline_with_its_command_and_price(page):
    assert page.count("<strong>Next:</strong>") == 1
    step = page[page.index('<p class="headline">') : page.index('<div class="cards">')]
    assert '<pre tabindex="0">ipix-tune confirm studies/synthetic</pre>' in step
    assert "Price: at least 9 runs of 9 epochs" in step


def test_every_section_says_what_n_stands_behind_it(page):
    assert page.count('<p class="n">n: ') == page.count('<section aria-labelledby="q')


def test_questions_without_an_answer_are_one_list_below_all_others_with_what_would_answer_them(page):
    end = page.index('<h2 id="unanswered">')
    assert page.rindex('<section aria-labelledby="q') < end
    listed = re.findall(r"<dt>(.*?)</dt>\s*<dd><p>(.*?)</p><p>What would answer it: (.*?)</p></dd>", page[end:])
    assert "How do seeds spread on the way?" in [title for title, _, _ in listed]
    assert all(why and would for _, why, would in listed)
    sections = re.findall(r'<h2 id="q\d+">(.*?)</h2>', page)
    assert not {title for title, _, _ in listed} & set(sections)
    assert "othing can be said" not in page


def test_figures_for_print_are_there_for_one_and_two_columns_with_fonts_in_them(built):
    for figure in ("progress", "sensitivity", "parameters", "parallel", "kl-cr", "curves", "fidelity"):
        for columns, inches in (("1col", 3.35), ("2col", 6.9)):
            pdf = (built / "plots" / "print" / f"{figure}-{columns}.pdf").read_bytes()
            width = float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", pdf)[1])
            assert abs(width - 72 * inches) < 0.5
            assert b"/FontFile2" in pdf
            svg = (built / "plots" / "print" / f"{figure}-{columns}.svg").read_text()
            assert abs(float(re.search(r'width="([\d.]+)pt"', svg)[1]) - 72 * inches) < 0.5
            assert "<text" not in svg


def test_heights_on_the_axes_of_the_brush_are_those_of_the_values(page, trials):
    data = json.loads(html.unescape(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]))
    names = [axis["name"] for axis in data["axes"]]
    assert names[-1] == "val/miou"
    for shown in data["trials"]:
        values = trials[int(shown["run"][-4:])]["values"]
        heights = dict(zip(names, shown["at"], strict=True))
        assert abs(heights["interpixel.tau"] - values["interpixel.tau"] / 0.98) < 1e-3
        alpha = (np.log10(values["interpixel.alpha"]) + 2) / 3
        assert abs(heights["interpixel.alpha"] - alpha) < 1e-3
        assert (heights["method.ema_decay"] is None) == ("method.ema_decay" not in values)


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SIZES = {"phone": (360, 740), "laptop": (1280, 800), "wide": (2200, 1200)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def shown(browser, built):
    """The page at laptop size, as a new reader sees it."""
    url = (built / "report.html").as_uri()
    browser.open(url)
    browser.run("sessionStorage.clear()")
    browser.open(url)
    return browser


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_has_no_sideways_scrolling_and_no_console_errors(browser, built, size, theme):
    width, height = SIZES[size]
    browser.open((built / "report.html").as_uri(), width=width, height=height, theme=theme, touch=size == "phone")
    assert browser.run("document.documentElement.scrollWidth") <= width
    outside = """[...document.querySelectorAll("body *")].filter(one => !one.closest(".scroll, .skip, pre")
        && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert browser.run(outside) == []
    assert browser.console == []
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == f"rgb{GROUNDS[theme]}"


GROUNDS = {"light": (255, 255, 255), "dark": (20, 24, 29)}


def corners_of_figures(browser, file):
    """Colours of the page where its figures begin, as they are seen."""
    places = browser.run("""[...document.querySelectorAll("figure:not([hidden]) img")]
        .filter(one => one.offsetWidth).map(one => one.getBoundingClientRect())
        .map(box => [box.left + scrollX + 3, box.top + scrollY + 3])""")
    assert places
    browser.screenshot(file)
    with Image.open(file) as seen:
        return {seen.convert("RGB").getpixel((round(x), round(y))) for x, y in places}


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_figures_have_the_pages_theme_and_change_with_it(browser, built, size, theme, tmp_path):
    width, height = SIZES[size]
    browser.open((built / "report.html").as_uri(), width=width, height=height, theme=theme)
    browser.run("sessionStorage.clear()")
    browser.open((built / "report.html").as_uri(), width=width, height=height, theme=theme)
    assert corners_of_figures(browser, tmp_path / "before.png") == {GROUNDS[theme]}
    browser.run("document.querySelector('#theme').click()")
    (other,) = set(GROUNDS) - {theme}
    assert corners_of_figures(browser, tmp_path / "after.png") == {GROUNDS[other]}
    browser.run("sessionStorage.clear()")


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_gets_figures_drawn_for_its_width(browser, built, theme):
    browser.open((built / "report.html").as_uri(), width=360, height=740, theme=theme, touch=True)
    widths = browser.run("""[...document.querySelectorAll("figure:not([hidden]) img")]
        .filter(one => one.offsetWidth).map(one => one.naturalWidth)""")
    assert widths
    assert all(abs(width - 3.35 * 96) < 2 for width in widths)


@pytest.mark.slow
@needs_chromium
def test_every_control_is_reached_with_tab_in_the_order_of_the_page(shown):
    order = shown.run("""[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
        .filter(one => one.checkVisibility()).map((one, place) => (one.dataset.place = place))""")
    reached = []
    for _ in order:
        shown.press("Tab")
        reached.append(shown.run("+document.activeElement.dataset.place"))
    assert reached == order


@pytest.mark.slow
@needs_chromium
def test_enter_on_a_heading_sorts_the_table_by_it_up_and_then_down(shown, trials):
    scores = "[...document.querySelectorAll('#trials tbody tr')].map(row => +row.cells[4].textContent)"
    shown.run("document.querySelectorAll('#trials th button')[4].focus()")
    shown.press("Enter")
    up = shown.run(scores)
    assert up == sorted(up)
    assert len(up) == len(trials)
    assert shown.run("document.querySelectorAll('#trials th')[4].ariaSort") == "ascending"
    shown.press("Enter")
    assert shown.run(scores) == up[::-1]


VISIBLE = "[...document.querySelectorAll('#trials tbody tr')].filter(row => !row.hidden).map(row => row.dataset.run)"


@pytest.mark.slow
@needs_chromium
def test_the_table_is_filtered_by_text_and_by_state(shown, trials):
    choose = "const s = document.querySelector('#state'); s.value = 'failed'; s.dispatchEvent(new Event('change'))"
    shown.run(f"{{ {choose} }}")
    assert shown.run(VISIBLE) == ["synthetic-t0004"]
    shown.run("{ document.querySelector('#state').value = ''; const f = document.querySelector('#find');"
              " f.value = 't001'; f.dispatchEvent(new Event('input')) }")  # fmt: skip
    assert shown.run(VISIBLE) == [f"synthetic-t{number:04d}" for number in range(10, 20)]
    assert shown.run("document.querySelector('#shown').textContent") == f"10 of {len(trials)} trials"


HANDLE = 'document.querySelector(\'.parallel g[data-axis="2"] .handle[data-end="0"]\')'


@pytest.mark.slow
@needs_chromium
def test_arrow_keys_on_a_handle_brush_an_axis_and_the_table_follows(shown, trials):
    shown.run(f"{HANDLE}.focus()")
    for _ in range(30):
        shown.press("ArrowUp")
    low = 0.6 * 0.98
    expected = [f"synthetic-t{one['number']:04d}" for one in trials if one["values"]["interpixel.tau"] >= low]
    assert shown.run(VISIBLE) == expected
    assert abs(float(shown.run(f"{HANDLE}.getAttribute('aria-valuetext')")) - low) < 1e-2
    assert shown.run("document.querySelectorAll('.parallel path:not(.out)').length") == len(expected)
    shown.press("Escape")
    assert len(shown.run(VISIBLE)) == len(trials)


@pytest.mark.slow
@needs_chromium
def test_dragging_along_an_axis_brushes_it_and_the_button_clears_it(shown, trials):
    shown.run("document.querySelector('.parallel').scrollIntoView({block: 'center'})")
    x, top, bottom = shown.run("""(() => { const box = document.querySelector('.parallel g[data-axis="2"] .axis')
        .getBoundingClientRect(); return [box.x + box.width / 2, box.top, box.bottom]; })()""")
    middle = (top + bottom) / 2
    shown.mouse("mousePressed", x, middle)
    shown.mouse("mouseMoved", x, bottom - 40)
    shown.mouse("mouseMoved", x, bottom + 5)
    shown.mouse("mouseReleased", x, bottom + 5)
    expected = [f"synthetic-t{one['number']:04d}" for one in trials if one["values"]["interpixel.tau"] <= 0.49]
    assert shown.run(VISIBLE) == expected
    shown.run("document.querySelector('.clear').click()")
    assert len(shown.run(VISIBLE)) == len(trials)


@pytest.mark.slow
@needs_chromium
def test_the_copy_button_copies_the_training_config_and_says_so(shown):
    shown.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    shown.run("document.querySelector('#copy').focus()")
    shown.press("Enter")
    shown.run("new Promise(done => setTimeout(done, 300))")
    assert shown.run("document.querySelector('#copied').textContent") == "Copied."
    assert shown.run("navigator.clipboard.readText()") == shown.run("document.querySelector('#config').textContent")


@pytest.mark.slow
@needs_chromium
def test_without_scripts_figures_and_table_are_there(browser, built):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((built / "report.html").as_uri())
        assert browser.run("[...document.querySelectorAll('figure')].every(one => !one.hidden && one.offsetHeight > 0)")
        assert browser.run("document.querySelectorAll('#trials tbody tr:not([hidden])').length") == 24
        assert browser.run("document.querySelector('#filters').hidden")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_of_scores_that_are_noise_the_page_rates_no_parameter(tmp_path):
    rng = np.random.default_rng(0)
    trials = make_trials(30)
    for one in trials:
        one |= {"curve": {epoch: float(rng.normal(60, 1)) for epoch in (1, 3, 9)}, "state": "complete"}
    page = render(tmp_path, build_tables(runs_of(trials)), []).read_text()
    assert "is not shown to predict better" in page
    assert "of the variance" not in page
    assert not list((tmp_path / "plots").glob("importance*"))
