import itertools
import math
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import style, training

LIMITS = [
    *[(0.5, 4), (1, 16), (0.01, 10), (1e-5, 0.1), (0.0005, 0.05), (3, 30), (0.02, 0.3), (0.8, 1.6), (1e-7, 1e3)],
    *[(1e-5, 9e-4), (0.01, 0.9), (0.01, 0.99), (100, 9000), (1e-4, 5e-3), (5e-4, 0.01), (1e-5, 1e-4), (1e-4, 1e-3)],
    *[(1e3, 5e4), (3e-6, 6e-5), (1e5, 5e6), (1e-5, 3e-5), (1e-4, 3e-4), (3e-6, 3e-4), (9e-5, 9e-3), (0.007, 0.7)],
    *[(1.1e-4, 1.9e-4), (2.5, 4.5), (0.3, 0.9)],
]


def panel(low, high, *, kind="loguniform", theme=style.ONE_COLUMN):
    """A figure with one panel of the size that a column of a paper leaves for each of two, and its axes."""
    with style.themed(theme):
        figure, axes = style.new(1.6, 1.4)
        style.along(axes, {"low": low, "high": high, "kind": kind})
    return figure, axes


@pytest.mark.parametrize(("low", "high"), LIMITS)
def test_labels_of_a_logarithmic_axis_do_not_touch_in_a_small_panel(low, high):
    figure, axes = panel(low, high)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    shown = [label for label in axes.get_xticklabels(which="both") if label.get_text()]
    places = sorted((label.get_window_extent(renderer) for label in shown), key=lambda box: box.x0)
    inside = [box for box in places if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1]
    assert len(inside) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(inside))


@pytest.mark.parametrize(("low", "high"), LIMITS)
def test_labels_of_a_logarithmic_axis_say_where_they_stand(low, high):
    figure, axes = panel(low, high)
    figure.draw(FigureCanvasAgg(figure).get_renderer())
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        text = label.get_text()
        plain = text.translate(powers)
        assert math.isclose(float(text) if plain == text else 10.0 ** int(plain[2:]), at, rel_tol=5e-3)


def test_a_figure_is_drawn_once_for_each_of_its_files(tmp_path, monkeypatch):
    figure, _ = panel(0.01, 10, theme=style.LIGHT)
    drawn, draw = [], Figure.draw

    def counted(one, renderer):
        drawn.append(renderer)
        return draw(one, renderer)

    monkeypatch.setattr(Figure, "draw", counted)
    files = style.save(figure, tmp_path, "panel", style.LIGHT)
    assert len(drawn) == len(files)


@pytest.mark.parametrize("name", ["a$x_{$", "from $5 to $9", "a$b$c$", r"\frac", "50%"])
def test_a_name_with_dollars_is_text_and_no_formula(tmp_path, name):
    curve = {1: 100.0, 2: 1.0, 3: 0.01}
    figure = training.draw({name: curve, "b": curve}, {}, style.LIGHT, called=name)
    style.save(figure, tmp_path, "training", style.LIGHT)
    texts = [one.get_text() for one in figure.findobj(Text)]
    assert name in texts
    assert [one for one in texts if "mathdefault" in one] == []
    assert "10⁻¹" in texts


@pytest.mark.parametrize("module", sorted(path.stem for path in Path(style.__file__).parent.glob("*.py")))
def test_no_logarithmic_axis_has_matplotlibs_own_labels(module):
    """They are formulas, which would be shown as they are written."""
    text = Path(style.__file__).with_name(f"{module}.py").read_text()
    assert text.count('scale("log")') <= text.count("log_ticks(")
