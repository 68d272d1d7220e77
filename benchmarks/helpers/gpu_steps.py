"""The stages `step`, `loader` and `unimatch` of `benchmarks.gpu`: what UniMatch's step takes, by switch, with its
loader, and against the public loop."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.helpers.gpu_measure import Asked, Row, attempt, cached, per_step, side, synchronise, training

SWITCHES: dict[str, Row] = {
    "as it is, not deterministic": {},
    "deterministic": {"off": ()},
    "with the inter-pixel loss": {"interpixel": True},
    "without channels_last": {"off": ("deterministic", "channels_last")},
    "fp32": {"precision": "fp32"},
}
PROFILED = ("as it is, not deterministic", "deterministic")


def step(asked: Asked) -> Iterator[Row]:
    """UniMatch's step on batches made before, by switch; a profile of two."""

    def run(name: str) -> Row:
        with training(asked, **SWITCHES[name]) as one:
            batches = cached(one)
            row = per_step(asked, one, batches, steps=2 if asked.cpu else 15)
            return {**row, "profile": profile(asked, one, batches)} if name in PROFILED else row

    for name in SWITCHES:
        yield attempt(name, lambda name=name: run(name))  # type: ignore[misc]


def profile(asked: Asked, run: Any, batches: Iterator[Any]) -> list[tuple[str, float, int]]:
    """The operators that take most of two steps: name, milliseconds, calls."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    from trainers.loop.step_means import StepMeans

    activities = [ProfilerActivity.CPU] + ([] if asked.cpu else [ProfilerActivity.CUDA])
    with profiled(activities=activities) as seen:
        for batch in itertools.islice(batches, 1 if asked.cpu else 2):
            run.train_step(batch, StepMeans(run.process))
        synchronise(asked)
    key = "self_cpu_time_total" if asked.cpu else "self_device_time_total"
    heaviest = sorted(seen.key_averages(), key=lambda one: getattr(one, key), reverse=True)[:15]
    return [(one.key[:70], getattr(one, key) / 1000, one.count) for one in heaviest]


def loader(asked: Asked) -> Iterator[Row]:
    """The step with its loader, by its workers; every image decoded before, as after the first epoch."""
    from benchmarks.helpers.step_config import fill_store

    def run(workers: int) -> Row:
        with training(asked, workers=workers) as one:
            fill_store(one)
            return per_step(asked, one, one.loader.epoch(0), steps=4 if asked.cpu else 60, warm=max(2, 2 * workers))

    for workers in (0, 2) if asked.cpu else (0, 2, 4):
        yield attempt(f"{workers} workers", lambda workers=workers: run(workers))  # type: ignore[misc]


def unimatch(asked: Asked) -> Iterator[Row]:
    """Ours against UniMatch's loop in fp32, and in bf16 and channels last put around it, in turns."""
    from benchmarks.helpers.step_sides import started

    if not asked.unimatch:
        yield {"name": "UniMatch's loop", "skipped": "no checkout was given (--unimatch PATH)"}
        return
    ours = side(asked, workers=1 if asked.cpu else 4)
    theirs = replace(ours, kind="unimatch", unimatch=asked.unimatch, off=())
    sides = {"ours, bf16": ours, "UniMatch, fp32": theirs, "UniMatch, bf16": replace(theirs, kind="unimatch_bf16")}
    with contextlib.ExitStack() as stack:
        turns: dict[str, Any] = {}
        for name, one in sides.items():
            try:
                turns[name] = stack.enter_context(started(one))
            except Exception as error:
                yield {"name": name, "failed": str(error)[-300:]}
        for _ in range(2):
            for name in turns:

                def turn(name: str = name) -> Row:
                    answer = turns[name](2 if asked.cpu else 10)
                    seconds = sorted(answer["seconds"])
                    return {"ms": 1000 * seconds[len(seconds) // 2], "peak_mib": answer["memory_mib"]}

                yield attempt(name, turn)
