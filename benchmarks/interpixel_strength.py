"""How strongly the inter-pixel loss pulls over its temperature, by KL and by CR, on logits of a training on `digits`.

    python -m benchmarks.interpixel_strength --out benchmarks/results/interpixel_strength_202611.md

UniMatch trains without the loss, so that the logits are no distance's own. At some steps the L1 norm of the loss's
gradient by the student's logits is taken with alpha = 1 over a few batches: of the KL with and without the factor t^2,
and of CR.
"""

import os
import platform
import statistics
import tempfile
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

TEMPERATURES = (1, 2, 4, 8, 16)
KINDS: dict[str, dict[str, Any]] = {
    "KL with the factor": {"distance": "kl", "t2_scale": True},
    "KL": {"distance": "kl"},
    "CR": {"distance": "cr"},
}
TRAINER: dict[str, Any] = {
    "data": {
        "name": "digits",
        "crop": 64,
        "batch_size": 4,
        "draw": {"labelled": 12},
        "holdout": {"images": 60, "source": "unlabelled"},
    },
    "method": {"name": "unimatch", "conf_thresh": 0.7},
    "model": {"backbone": "small", "weights": "none", "upsample": "nearest"},
    "views": {"cutmix_partner": "batch", "flip_p": 0, "hue": 0.03, "gray_p": 0, "scale_min": 0.7, "scale_max": 1.5},
    "interpixel": {"alpha": 1.0e-12, "tau": 0.8},
    "optim": {"lr": 0.2, "head_lr_multiplier": 1},
}
"""As the shipped digits studies train; alpha so that pairs are offered and nothing is pulled."""


def main(
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")],
    at: Annotated[list[int], typer.Option(help="Steps at which it is measured.")] = [50, 150],  # noqa: B006
    batches: Annotated[int, typer.Option(help="Batches of each measurement.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
) -> None:
    """Train, measure, write the table."""
    lines = [
        "# How strongly the inter-pixel loss pulls, by distance and temperature",
        "",
        f"`python -m benchmarks.interpixel_strength --out {out} {' '.join(f'--at {one}' for one in at)} "
        f"--batches {batches} --seed {seed}`",
        "",
        f"L1 norm of the loss's gradient by the student's logits, alpha = 1, mean over {batches} batches; UniMatch on "
        "`digits`, 12 labels, without the loss.",
        "",
        f"| step | tau | in Omega | distance | {' | '.join(f't = {t}' for t in TEMPERATURES)} | largest / smallest |",
        "|---|---|---|---|" + "---|" * (len(TEMPERATURES) + 1),
        *rows(at, batches=batches, seed=seed),
        "",
        f"{date.today()}; {os.cpu_count()} cores, no GPU; Python {platform.python_version()}, torch "
        f"{version('torch')}, numpy {version('numpy')}.",
    ]
    out.write_text("\n".join(lines) + "\n")
    typer.echo("\n".join(lines))


def rows(at: list[int], *, batches: int, seed: int) -> list[str]:
    """The table's rows; an epoch is a step, so that it can be stopped at any."""
    from trainers.config import TrainConfig
    from trainers.loop.run import Run

    found = []
    with tempfile.TemporaryDirectory() as folder:
        schedule = {"epochs": max(at), "steps_per_epoch": 1}
        run = Run(TrainConfig.model_validate({**TRAINER, "schedule": schedule, "seed": seed}), Path(folder))
        for epoch in range(max(at)):
            run.train_epoch(epoch, None)
            if epoch + 1 in at:
                found += measured(run, epoch, batches)
        run.close()
    return found


def measured(run: Any, epoch: int, batches: int) -> list[str]:
    """Rows of one step of the training."""
    from trainers.losses.interpixel import InterPixelLoss
    from trainers.losses.interpixel_config import InterPixelConfig

    sizes: dict[tuple[float, str, int], list[float]] = {}
    shares: dict[float, list[float]] = {}
    for number in range(batches):
        batch = next(iter(run.loader.epoch(epoch + number)))
        pairs = run.method.losses(run._step(batch.to(run.process.device))).pairs
        for tau in (0.0, 0.8):
            for kind, values in KINDS.items():
                for temperature in TEMPERATURES:
                    config = InterPixelConfig(alpha=1, tau=tau, temperature=temperature, **values)
                    students = [pair.student.detach().clone().requires_grad_() for pair in pairs]
                    held = [replace(pair, student=one) for pair, one in zip(pairs, students, strict=True)]
                    loss, seen = InterPixelLoss(config)(held)
                    loss.backward()
                    size = sum(float(one.grad.abs().sum()) for one in students)
                    sizes.setdefault((tau, kind, temperature), []).append(size)
            shares.setdefault(tau, []).append(float(seen["omega"]))
    lines = []
    for tau in (0.0, 0.8):
        for kind in KINDS:
            means = [statistics.mean(sizes[tau, kind, temperature]) for temperature in TEMPERATURES]
            cells = [f"{epoch + 1}", f"{tau:g}", f"{statistics.mean(shares[tau]):.2f}", kind]
            cells += [f"{mean:.3g}" for mean in means] + [f"{max(means) / min(means):.2g}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    typer.run(main)
