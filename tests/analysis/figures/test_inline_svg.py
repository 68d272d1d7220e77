import xml.etree.ElementTree as ElementTree
from urllib.parse import unquote

import pytest
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.inline_svg import data_uri, shortened, themed


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    with style.themed(style.LIGHT):
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.plot([1, 2, 3], [0.1, 0.25, 0.2], color=style.BLUE)
        axes.set_title("a < b & c: 50 % \"sure\" 'of it' # 1")
        figure.text(0.5, 0.5, "<text & more>")
    return style.save(figure, tmp_path_factory.mktemp("plots"), "figure", style.LIGHT)[0]


def drawn(text):
    """Elements with what places and paints them, in order."""
    root = ElementTree.fromstring(text)
    return [
        (one.tag.rpartition("}")[2], dict(one.attrib), (one.text or "").strip())
        for one in root.iter()
        if one.tag.rpartition("}")[2] not in ("metadata", "RDF", "Work", "type", "format", "creator", "Agent", "title")
    ]


def numbers_of(value):
    return [word for word in value.replace(",", " ").split() if word.replace(".", "").replace("-", "").isdigit()]


def test_a_shortened_figure_has_all_elements_with_places_to_a_hundredth(svg):
    before, after = drawn(svg.read_text()), drawn(shortened(svg.read_text()))
    assert [one[0] for one in before] == [one[0] for one in after]
    for (_, old, _), (_, new, _) in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        for name in old.keys() - {"d", "x", "y"}:
            assert old[name].split() == new[name].split()
        for name in old.keys() & {"d", "x", "y"}:
            for left, right in zip(numbers_of(old[name]), numbers_of(new[name]), strict=True):
                assert float(left) == pytest.approx(float(right), abs=0.01)


def test_the_address_holds_the_whole_figure_and_fits_between_double_quotes(svg):
    address = data_uri(svg)
    assert not set(address) & set('"\n#')
    assert unquote(address.unescape()) == "data:image/svg+xml," + themed(shortened(svg.read_text()))
    assert len(address) < svg.stat().st_size


def test_ground_and_text_follow_the_scheme_and_other_colours_stay(svg):
    text = themed(svg.read_text())
    style_sheet, drawing = text.split("</style>")
    for colour in (style.LIGHT.ground, style.LIGHT.ink, style.LIGHT.faint, style.LIGHT.line):
        assert colour in svg.read_text()
        assert colour in style_sheet
        assert colour not in drawing
    assert style.BLUE.lower() in drawing
    for colour in (style.DARK.ground, style.DARK.ink, style.DARK.faint, style.DARK.line):
        assert colour in style_sheet.split("prefers-color-scheme: dark")[1]
