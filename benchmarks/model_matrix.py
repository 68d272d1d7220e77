"""Every method on every kind of network, with the inter-pixel loss: a step, exact resume, two processes.

    python -m benchmarks.model_matrix measure --rows model_matrix.jsonl
    python -m benchmarks.model_matrix rounding --rows model_matrix.jsonl
    python -m benchmarks.model_matrix table --rows model_matrix.jsonl --out benchmarks/results/model_matrix_202611.md

`measure` goes on where it was stopped; `--method` and `--network` take some of the cells. A cell trains on `digits`, in
crops of 32 pixels:

- step: two epochs of one step, scored. The losses are finite and the inter-pixel loss is above 0. Mean teacher and
  U2PL train a third: they compare an average with the network on the same images, and the average's first update copies
  the network.
- resume: the same, stopped after the first epoch and taken up again, has the same scores and weights bit for bit.
- two processes: as many steps in float64, once by one process and once by two (gloo), each with half of the batch; the
  difference of weights, statistics and optimiser states, relative to what the steps changed, of the part where it is
  largest. DDP also fails where a parameter that requires a gradient gets none.

`rounding` asks of every cell in which that difference is above `QUESTIONED` how far rounding alone goes: one process
trains anew with first weights that are moved by up to float64's unit of rounding, and is compared with itself.
"""

import json
import math
import tempfile
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer
from torch.multiprocessing.spawn import spawn

from benchmarks.helpers.method_settings import ALL_ON
from trainers.common.environment import git_commit
from trainers.config import TrainConfig

SLIM = {"decoder_intermediate_channels": [16, 16, 32, 32], "decoder_fusion_channels": 32}
NETWORKS: dict[str, dict[str, Any]] = {
    "DeepLabV3+, small": {"backbone": "small"},
    "smp Unet, tu-tf_efficientnet_lite0": {
        "name": "smp",
        "architecture": "unet",
        "encoder": "tu-tf_efficientnet_lite0",
        "options": {"decoder_channels": [64, 32, 32, 16, 16]},
    },
    "smp DPT, tu-test_vit": {"name": "smp", "architecture": "dpt", "encoder": "tu-test_vit", "options": SLIM},
}
CROP, BATCH, WORLD, STEPS = 32, 4, 2, 2
MORE_STEPS = {"meanteacher": 3, "u2pl": 3}
LARGEST, TIMES = 1e-6, 10
"""Two processes do the same as one where they differ by less than `LARGEST` in float64. Those that do not are told
apart by whether they differ by less than `TIMES` what moving the first weights by rounding does to one process."""
QUESTIONED, DRAWS = 1e-9, 3

Some = Annotated[list[str] | None, typer.Option("--method", help="Only these methods.")]
Kinds = Annotated[list[str] | None, typer.Option("--network", help="Only networks whose name holds one of these.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def config_of(method: str, network: str, crop: int, **schedule: int) -> TrainConfig:
    """The config of a cell."""
    from tests.trainers.methods.test_every_method import config

    found: TrainConfig = config(
        method,
        data={"crop": crop, "batch_size": BATCH},
        model={"backbone": "small", "weights": "none", **NETWORKS[network]},
        schedule=schedule,
    )
    return found


def stepped(method: str, network: str, crop: int, folder: Path) -> dict[str, Any]:
    """A short training, and another that was stopped and taken up."""
    from tests.trainers.runs import rows, same_tensors, tensors
    from trainers.interface.epoch_record import Decision
    from trainers.loop.fit import fit

    config = config_of(method, network, crop, epochs=MORE_STEPS.get(method, STEPS), steps_per_epoch=1)
    fit(config, folder / "whole")
    last = rows(folder / "whole")[-1]
    losses = {name: value for name, value in last.items() if name.startswith("train/loss")}
    fit(config, folder / "cut", callbacks=[lambda record: Decision.STOP])
    fit(config, folder / "cut")
    same = same_tensors(tensors(folder / "whole"), tensors(folder / "cut"))
    return {
        "finite": all(map(math.isfinite, losses.values())),
        "interpixel": losses["train/loss/interpixel"],
        "resumed": same and rows(folder / "whole") == rows(folder / "cut"),
    }


def _trained(method: str, network: str, crop: int, folder: Path) -> tuple[Any, Any]:
    from tests.trainers.methods.test_two_processes_train import trained

    model = {"backbone": "small", "weights": "none", **NETWORKS[network]}
    sections = {"model": model, "data": {"crop": crop}}
    held: tuple[Any, Any] = trained(method, folder, sections, images=BATCH, steps=MORE_STEPS.get(method, STEPS))
    return held


def _moved(method: str, network: str, crop: int, folder: Path, *, seed: int) -> tuple[Any, Any]:
    """:func:`_trained`, from weights that are moved by up to their unit of rounding."""
    from tests.trainers.methods import test_two_processes_train as steps

    generator, state_of = torch.Generator().manual_seed(seed), steps.state_of

    def move(run: Any) -> Any:
        with torch.no_grad():
            for one in run.networks.trained.values():
                for weight in one.module.parameters():
                    unit = torch.finfo(weight.dtype).eps
                    weight.mul_(1 + unit * (2 * torch.rand(weight.shape, generator=generator, dtype=weight.dtype) - 1))
        return state_of(run)

    with mock.patch.object(steps, "state_of") as asked:
        asked.side_effect = lambda run: move(run) if asked.call_count == 1 else state_of(run)
        return _trained(method, network, crop, folder)


def rounded(method: str, network: str, crop: int, folder: Path) -> dict[str, Any]:
    """How far one process gets from itself by rounding, at most, over some draws."""
    from tests.trainers.methods.test_two_processes_train import apart

    alone = _trained(method, network, crop, folder / "alone")
    draws = [_moved(method, network, crop, folder / str(seed), seed=seed) for seed in range(DRAWS)]
    return {"rounding": max(max(apart(alone, one).values()) for one in draws)}


def _work(rank: int, folder: Path, methods: list[str], network: str, crop: int) -> None:
    """Several methods one after the other: a process takes long to start."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        for method in methods:
            torch.save(_trained(method, network, crop, folder), folder / f"{method}, {rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def compared(method: str, network: str, crop: int, folder: Path) -> dict[str, Any]:
    """What two processes hold, in ``folder``, against one."""
    from tests.trainers.methods.test_two_processes_train import apart

    each = [folder / f"{method}, {rank}.pt" for rank in range(WORLD)]
    if not all(path.exists() for path in each):
        return {"compared_error": "the two processes failed"}
    alone = _trained(method, network, crop, folder / method)
    return {"apart": max(max(apart(alone, torch.load(path, weights_only=True)).values()) for path in each)}


@app.command()
def measure(
    rows: Annotated[Path, typer.Option(help="JSON lines; what it has is not measured again.")],
    only: Some = None,
    networks: Kinds = None,
    at_once: Annotated[int, typer.Option(help="Methods that two processes train before a row is written.")] = 6,
    crop: Annotated[int, typer.Option(help="Side of the crops; rows of other crops have a table of their own.")] = CROP,
) -> None:
    """Measure the cells that are not there yet."""

    torch.set_num_threads(1)
    known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    done = {(row["method"], row["network"]) for row in known if row.get("crop", CROP) == crop}
    for network in NETWORKS:
        if networks and not any(one in network for one in networks):
            continue
        wanted = [one for one in ALL_ON if (not only or one in only) and (one, network) not in done]
        for begin in range(0, len(wanted), at_once):
            _measure(wanted[begin : begin + at_once], network, crop, rows)


def _measure(methods: list[str], network: str, crop: int, rows: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            spawn(_work, args=(folder, methods, network, crop), nprocs=WORLD)
        except Exception as error:
            typer.echo(f"two processes on {network}: {error}")
        for method in methods:
            row: dict[str, Any] = {"method": method, "network": network, "crop": crop, "commit": git_commit()}
            row |= _tried(stepped, method, network, crop, folder / f"{method}, steps")
            row |= _tried(compared, method, network, crop, folder)
            _keep(row, rows)


def _keep(row: dict[str, Any], rows: Path) -> None:
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")
    typer.echo(str(row))


@app.command()
def rounding(
    rows: Annotated[Path, typer.Option(help="JSON lines that `measure` wrote; rows are added.")],
    only: Some = None,
    networks: Kinds = None,
) -> None:
    """Measure what rounding does in the cells where two processes are apart by more than `QUESTIONED`."""
    torch.set_num_threads(1)
    for row in _cells([json.loads(line) for line in rows.read_text().splitlines()]).values():
        method, network, crop = row["method"], row["network"], row.get("crop", CROP)
        asked = (not only or method in only) and (not networks or any(one in network for one in networks))
        if asked and "rounding" not in row and row.get("apart", 0) > QUESTIONED:
            with tempfile.TemporaryDirectory() as folder:
                found = _tried(rounded, method, network, crop, Path(folder))
            _keep({"method": method, "network": network, "crop": crop, **found}, rows)


def _cells(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What all rows of a cell say together, the latest where several say the same, by method, network and crop."""
    cells: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in rows:
        cells.setdefault((row["method"], row["network"], row.get("crop", CROP)), {}).update(row)
    return cells


def _tried(measured: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    try:
        return measured(*given)
    except Exception as error:
        return {f"{measured.__name__}_error": f"{type(error).__name__}: {error}".strip().splitlines()[-1][:300]}


@app.command()
def table(rows: Annotated[Path, typer.Option()], out: Annotated[Path, typer.Option()]) -> None:
    """Write what was measured."""
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    cells = _cells(found)
    here = {(method, network): row for (method, network, crop), row in cells.items() if crop == CROP}
    methods = [*ALL_ON, *sorted({row["method"] for row in found} - ALL_ON.keys())]
    commits = ", ".join(dict.fromkeys(str(row["commit"])[:7] for row in found if "commit" in row))
    kept = ", ".join(f"{name} {version(name)}" for name in ("torch", "segmentation-models-pytorch", "timm"))
    lines = [
        "# Every method on three kinds of network",
        "",
        "`python -m benchmarks.model_matrix measure --rows model_matrix.jsonl`, then `rounding` and `table`; 2 cores, "
        f"no GPU, {date.today():%Y-%m-%d}, commit {commits}, {kept}.",
        "",
        f"`digits`, crops of {CROP} pixels, {BATCH} + {BATCH} images, inter-pixel loss on (alpha 1, tau 0.05), random "
        "weights. A cell says: the inter-pixel loss in the last step; whether a run that was stopped and taken up has "
        "the same weights and scores bit for bit; the largest difference of two processes from one after "
        f"{STEPS} steps in float64, relative to what the steps changed. Mean teacher and U2PL take "
        f"{MORE_STEPS['u2pl']} steps: their average is a copy of the network until the second update.",
        "",
        f"| method | {' | '.join(NETWORKS)} |",
        "|---|" + "---|" * len(NETWORKS),
    ]
    lines += [f"| {one} | {' | '.join(_cell(here.get((one, network))) for network in NETWORKS)} |" for one in methods]
    whole = sum(_holds(row, LARGEST) for row in here.values())
    near = sum(_holds(row, TIMES * row.get("rounding", 0)) and not _holds(row, LARGEST) for row in here.values())
    lines += [
        "",
        f"{whole} of {len(here)} cells hold in all three respects (difference below {LARGEST:.0e}). {near} of the "
        f"others would by their difference alone if {TIMES} times what rounding does to one process were allowed.",
    ]
    if missing := len(methods) * len(NETWORKS) - len(here):
        lines.append(f"{missing} cells are not measured; the command above goes on with them.")
    lines += ["", *_rounding_lines(cells), ""]
    out.write_text("\n".join(lines))
    typer.echo(str(out))


def _rounding_lines(cells: dict[tuple[str, str, int], dict[str, Any]]) -> list[str]:
    asked = [(key, row) for key, row in cells.items() if "rounding" in row or key[2] != CROP]
    if not asked:
        return []
    lines = [
        "## How far rounding goes",
        "",
        f"One process against itself with first weights moved by at most 2e-16 of each: the largest of {DRAWS} draws.",
        "",
        "| method | network | crop | two processes | rounding |",
        "|---|---|---:|---:|---:|",
    ]
    for (method, network, crop), row in sorted(asked, key=lambda one: (one[0][1], -one[1].get("apart", 0))):
        own = f"{row['rounding']:.1e}" if "rounding" in row else ""
        lines.append(f"| {method} | {network} | {crop} | {row.get('apart', math.nan):.1e} | {own} |")
    return lines


def _holds(row: dict[str, Any], allowed: float) -> bool:
    return bool(
        row.get("finite") and row.get("interpixel", 0) > 0 and row.get("resumed") and row.get("apart", 1) < allowed
    )


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    parts = [row.get("stepped_error") or f"{row['interpixel']:.3g}"]
    if "stepped_error" not in row:
        parts[0] += "" if row["finite"] else ", not finite"
        parts.append("resumes exactly" if row["resumed"] else "resumes otherwise")
    parts.append(row.get("compared_error") or f"{row['apart']:.0e}")
    return "; ".join(parts)


if __name__ == "__main__":
    app()
