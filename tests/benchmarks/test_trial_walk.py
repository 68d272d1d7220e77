"""What a reader opens who follows one trial: the page names what is there, and the watcher sees numbers in data."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.helpers import walk_hook
from benchmarks.trial_walk import Opened, is_there, on_page, returns

ROOT = Path(__file__).parents[2]


def test_every_function_on_the_page_is_in_its_file():
    steps = on_page(ROOT)
    assert len(steps) > 20
    assert [step for step in steps if not is_there(ROOT, step)] == []
    assert not is_there(ROOT, Opened("trainers/loop/fit.py", "Fit", ""))
    assert not is_there(ROOT, Opened("trainers/loop/gone.py", "fit", ""))


def test_a_return_is_a_step_into_a_room_that_was_left():
    assert returns([Opened(f"{room}/x.py", "f", "") for room in "aabacab"]) == 3


@dataclass
class Message:
    params: dict


class Config:
    model_fields = {"tau": None, "section": None}  # noqa: RUF012

    def __init__(self, tau, section=None):
        self.tau, self.section = tau, section


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0.8123457, ["0.8123457"]),
        (0.8, []),
        (Message(params={"tau": 0.8123457, "t": 4}), ["0.8123457"]),
        ('{"val/miou": 71.2345678}', ["71.2345678"]),
        ([[[[0.8123457]]]], []),
        (Config(0.8123457), ["0.8123457"]),
        (Config(1, section=Config(0.8123457)), []),
        (object(), []),
    ],
)
def test_telling_numbers_are_found_in_data_and_not_in_whole_configs(value, found):
    assert list(walk_hook.numbers(value)) == found


def test_a_function_is_asked_for_what_it_is_given_and_what_it_returns():
    text = "def outer(self, a, *, b=1):\n    def inner(c):\n        return c\n    return inner(a) + b"
    module = walk_hook.Asking("x.py").visit(ast.parse(text))
    seen = []
    scope = {
        "__note__": lambda name, *values: seen.append((name, values)),
        "__hand_on__": lambda name, value: [value, seen.append((name, value))][0],
    }
    exec(compile(ast.fix_missing_locations(module), "x.py", "exec"), scope)
    assert scope["outer"](None, 2, b=3) == 5
    assert seen == [("x.py outer:1", (2, 3)), ("x.py inner:2", (2,)), ("x.py inner:2", 2), ("x.py outer:1", 5)]
