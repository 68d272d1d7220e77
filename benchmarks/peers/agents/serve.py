"""The side of another project's search: it answers questions that come as lines of JSON, and knows nothing of ours.

Only Python's own library is used here, and beside this file the project itself, which is installed in an environment of
its own. A search has `ask() -> (number, values, until) | None` and `tell(number, epoch, scores) -> until | None`:

- `ask`: which configuration a free worker trains, under a number that stays the same when a configuration that was
  paused goes on, and until which epoch; None: nothing before another one has been told.
- `tell`: its scores (more is better) by epoch from the first one that has not been told yet until ``epoch``. The answer
  is the epoch until which it goes on at once, or None where the worker is free again.

A space is a list of dimensions: `name`, `kind` (float, int or choice), `low`, `high` and `log`, or `choices`, and
`only_if`: values of other dimensions under which it is active.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO


class Search(Protocol):
    """What a project's search is to the measure."""

    def ask(self) -> tuple[int, dict[str, Any], int] | None: ...

    def tell(self, number: int, epoch: int, scores: list[float]) -> int | None: ...


Start = Callable[..., Search]
"""Called with `space`, `seed`, `epochs` (full length), `workers`, and `prior`: centers by dimension, or None."""


def serve(searches: Mapping[str, Start]) -> None:
    """Answer until the input ends, on a pipe whose number is the argument: projects print what they like elsewhere. The
    first line comes unasked, when the project has been imported, and says what that took."""
    answers = os.fdopen(int(sys.argv[1]), "w")
    search: Search | None = None
    _write(answers, None)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "begin" in question:
                search = searches[question.pop("begin")](**question)
                answer: Any = None
            elif "ask" in question:
                assert search is not None
                answer = search.ask()
            else:
                assert search is not None
                answer = search.tell(*question["tell"])
        except Exception:
            traceback.print_exc()
            answers.write(json.dumps({"error": traceback.format_exc(limit=-3)}) + "\n")
            answers.flush()
            continue
        _write(answers, answer)


def _write(answers: TextIO, answer: Any) -> None:
    answers.write(json.dumps({"answer": answer, "cpu": time.process_time()}) + "\n")
    answers.flush()
