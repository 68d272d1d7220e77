"""One side of a comparison, in a process of its own: it warms up, then runs as many steps as it is asked for.

Reads lines on standard input (a number of steps, or `stop`) and answers each with a line of JSON; `STEP_SIDE` is the
`Side` as JSON. Between two requests it waits, so that sides can take turns on one machine.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.helpers.step_config import config_of, fill_store
from benchmarks.helpers.step_turns import Side, Turns


def run_ours(side: Side, turns: Turns) -> None:
    """Our own loop: `Run.train_step` on batches from its loader, or on some that were made before."""
    import itertools
    import tempfile

    from benchmarks.helpers.step_parts import Parts
    from trainers.data.voc import CLASSES
    from trainers.loop.fit import numerics
    from trainers.loop.run import CHECK_EVERY, Run
    from trainers.loop.step_means import StepMeans

    if side.classes != len(CLASSES):
        _with_classes(side.classes)
    config = config_of(side)
    parts = Parts(side.device) if side.parts else None
    with tempfile.TemporaryDirectory() as folder, numerics(config.precision):
        run = Run(config, Path(folder))
        fill_store(run)
        batches: Iterator[Any] = run.loader.epoch(0)
        if side.kind != "ours":
            batches = itertools.cycle(list(itertools.islice(batches, 4)))
        if parts is not None:
            parts.watch(run)
            batches = parts.waited(batches)
        step_means = StepMeans(run.process)
        one = bare_step(run) if side.kind == "bare" else lambda batch: run.train_step(batch, step_means)
        for number, batch in enumerate(batches, 1):
            one(batch)
            if number % CHECK_EVERY == 0 and side.kind != "bare":
                step_means.check(epoch=1)
            if not turns.step(None if parts is None else parts.seconds):
                break
        run.close()


def _with_classes(count: int) -> None:
    """As if the data had so many."""
    from dataclasses import replace

    from trainers.data.open import OpenData, open_data
    from trainers.loop import run

    classes = tuple(str(index) for index in range(count))

    def opened(*given: Any, **named: Any) -> OpenData:
        return replace(open_data(*given, **named), classes=classes)

    run.open_data = opened  # type: ignore[attr-defined]


def bare_step(run: Any) -> Any:
    """Forward and backward of the network alone, on the images of a UniMatch step, with given gradients."""
    import torch

    slopes: list[torch.Tensor] = []

    def step(batch: Any) -> None:
        labelled, unlabelled = batch.labelled.image, batch.unlabelled
        for parameter in run.student.parameters():
            parameter.grad = None
        with run._autocast():
            if unlabelled.partner is not None:
                run.student.eval()
                with torch.no_grad():
                    run.student(unlabelled.partner.weak)
            run.student.train()
            outputs = [*run.student(torch.cat([labelled, unlabelled.view.weak]), dropout=run.method._dropout(batch))]
            outputs.append(run.student(torch.cat(unlabelled.view.strong)))
        if not slopes:
            slopes.extend(torch.randn_like(output) / output.numel() for output in outputs)
        torch.autograd.backward(outputs, slopes)

    return step


def _prepared() -> Side:
    """This process made into the side; its loader workers, which import this module anew, likewise."""
    from benchmarks.helpers import step_plain

    given = json.loads(os.environ["STEP_SIDE"])
    side = Side(**{**given, "off": tuple(given["off"])})
    step_plain.switch_off(side.off)
    if not side.kind.startswith("unimatch"):
        step_plain.forget_decoded_images()
    return side


def main() -> None:
    side = _prepared()
    if side.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: side.cores])
    import torch

    torch.set_num_threads(side.threads)
    turns = Turns(side.device)
    if side.kind.startswith("unimatch"):
        from benchmarks.helpers.step_unimatch import run_unimatch

        run_unimatch(side, turns)
    else:
        run_ours(side, turns)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    _prepared()
