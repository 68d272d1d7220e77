"""W&B offline files by the thousand, as the client writes them: one run is logged by the client, and its records, with
other values in them, are framed again. Framing the client's own records gives its file back, byte for byte."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from analysis.ingest.wandb_files import BLOCK, FIRST, FULL, HEAD, HEADER, LAST, MAGIC, MIDDLE, message_class, records

EPOCHS, RUNGS, SCORE = 100, (11, 33), "val/miou"
SPACE: dict[str, dict[str, Any]] = {
    "interpixel.alpha": {"kind": "loguniform", "low": 0.01, "high": 10.0},
    "interpixel.tau": {"kind": "uniform", "low": 0.0, "high": 0.98},
    "interpixel.temperature": {"kind": "loguniform", "low": 0.5, "high": 4.0},
    "interpixel.distance": {"kind": "choice", "choices": ["kl", "cr"]},
    "interpixel.warmup_epochs": {"kind": "int", "low": 0, "high": 20},
    "optim.lr": {"kind": "loguniform", "low": 0.0005, "high": 0.05},
    "method.threshold": {"kind": "uniform", "low": 0.8, "high": 0.98},
    "method.ema_decay": {"kind": "choice", "choices": [0.99, 0.996], "only_if": {"interpixel.distance": "cr"}},
}
"""What a study of the inter-pixel loss searches."""
METRICS = (
    *(f"val/iou/{index}" for index in range(21)),
    *("train/loss", "train/lr", "train/skipped_images", "train/mask_ratio", "time/epoch_s", "time/eval_s"),
    *(f"train/loss/{term}" for term in ("supervised", "strong1", "strong2", "feature", "interpixel")),
    *("val/absent_classes", "val/student/miou", "val/teacher/miou", SCORE),
)
"""What the trainer logs in an epoch on Pascal VOC."""


def dimension(given: dict[str, Any]) -> dict[str, Any]:
    """A line of `space`, as `analysis.columns` lists it."""
    return {"low": None, "high": None, "step": None, "choices": None, "only_if": None} | given


def draw(number: int) -> dict[str, Any]:
    """Values of a made-up trial: alpha and the distance matter, the others do not."""
    rng = np.random.default_rng([7, number])
    values: dict[str, Any] = {}
    for name, one in SPACE.items():
        if one.get("only_if") and values["interpixel.distance"] != "cr":
            continue
        if "choices" in one:
            values[name] = one["choices"][int(rng.integers(len(one["choices"])))]
        elif one["kind"] == "int":
            values[name] = int(rng.integers(one["low"], one["high"] + 1))
        elif one["kind"] == "uniform":
            values[name] = float(rng.uniform(one["low"], one["high"]))
        else:
            values[name] = float(np.exp(rng.uniform(np.log(one["low"]), np.log(one["high"]))))
    return values


def scores(number: int, epochs: int = EPOCHS) -> list[float]:
    """val/miou of the trial, for every epoch."""
    rng, values = np.random.default_rng([11, number]), draw(number)
    top = 60 + 5 * np.log10(values["interpixel.alpha"]) + 2 * (values["interpixel.distance"] == "kl")
    epoch = np.arange(1, epochs + 1)
    found: list[float] = (top * (1 - np.exp(-epoch / 15)) + rng.normal(0, 0.4, epochs)).tolist()
    return found


def rows() -> list[dict[str, float]]:
    """What trial 0 logs: a metric a name of `METRICS`, float64, for every epoch."""
    rng = np.random.default_rng(13)
    return [
        {"epoch": epoch, **dict(zip(METRICS, rng.normal(score, 3, len(METRICS)).tolist(), strict=True)), SCORE: score}
        for epoch, score in enumerate(scores(0), 1)
    ]


def config(number: int, study: str) -> dict[str, Any]:
    """Of a run, as `analysis.columns` lists it."""
    return {
        "schema_version": 1,
        "study": study,
        "trial": {"key": f"t{number:04d}", "number": number},
        "search": draw(number),
        "space": {name: dimension(one) for name, one in SPACE.items()},
        "trainer": {"seed": 0, "data": {"holdout": {"images": 100, "source": "labelled", "seed": 0}}},
        "objective": {"metric": "val/miou", "mode": "max"},
        "scheduler": {"name": "asha", "grace_epochs": 11, "reduction": 3, "max_epochs": EPOCHS, "rungs": [*RUNGS]},
        "classes": [f"class {index}" for index in range(21)],
        "origin": {"split_hash": "5" * 64, "git_commit": "0" * 40, "versions": {}, "world_size": 1, "host": "h"},
    }


def log_with_client(folder: Path, study: str) -> Path:
    """The file that W&B's client writes of trial 0, in a process of its own."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom benchmarks.helpers.wandb_files import _log\n"
        "_log(Path(sys.argv[1]), sys.argv[2])"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", code, str(folder), study],
        check=True,
        cwd=Path(__file__).parents[2],
        env=clean,
    )
    return next(folder.glob(f"wandb/*/run-{run_id(0, study)}.wandb"))


def run_id(number: int, study: str) -> str:
    """As the tracker names it."""
    return f"{study}-t{number:04d}"


def _log(folder: Path, study: str) -> None:
    import wandb

    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True)
    name = run_id(0, study)
    run = wandb.init(
        project="p", id=name, name=name, group=study, job_type="search", dir=str(folder), mode="offline",
        config=config(0, study), settings=settings,
    )  # fmt: skip
    for row in rows():
        run.log(row, step=int(row["epoch"]), commit=True)
    run.summary.update({"state": "complete", "error": None, "retries": 0, "epochs": EPOCHS})
    run.finish()
    wandb.teardown()


def framed(messages: list[bytes]) -> bytes:
    """A file of these records, in LevelDB's framing."""
    out = bytearray(HEADER.pack(MAGIC, 0xBEE1, 0))
    for message in messages:
        rest, first = message, True
        while True:
            room = BLOCK - len(out) % BLOCK
            if room < HEAD.size:
                out += bytes(room)
                room = BLOCK
            part, rest = rest[: room - HEAD.size], rest[room - HEAD.size :]
            kind = (FULL if not rest else FIRST) if first else (LAST if not rest else MIDDLE)
            out += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            first = False
            if not rest:
                break
    return bytes(out)


class Template:
    """The client's file of trial 0, to be written again as other trials.

    Their names, configs and scores are their own; of the other metrics they have trial 0's values, in as many bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._records = [(message, *_where(_parse(message))) for message in records(data)]

    def like(self, number: int, study: str) -> bytes:
        """The file of another trial."""
        found, messages = scores(number), []
        for message, epoch, place in self._records:
            if epoch is not None:
                record = _parse(message)
                items = record.history.item if record.HasField("history") else record.summary.update
                items[place].value_json = json.dumps(found[epoch - 1])
                message = record.SerializeToString()
            elif (record := _parse(message)).HasField("run"):
                record.run.run_id = record.run.display_name = run_id(number, study)
                record.run.start_time.seconds += number
                ours = config(number, study)
                for item in record.run.config.update:
                    if item.key in ours:
                        item.value_json = json.dumps(ours[item.key])
                message = record.SerializeToString()
            messages.append(message)
        return framed(messages)


def _parse(message: bytes) -> Any:
    return message_class().FromString(message)


def _where(record: Any) -> tuple[int | None, int]:
    """The epoch that a record has a score of, and which of its items that is; None where it has none."""
    items = {"history": record.history.item, "summary": record.summary.update}.get(record.WhichOneof("record_type"), ())
    names = [item.key or "/".join(item.nested_key) for item in items]
    if SCORE not in names or "epoch" not in names:
        return None, 0
    return json.loads(items[names.index("epoch")].value_json), names.index(SCORE)


def write_study(folder: Path, template: Template, numbers: range) -> int:
    """Files of these trials below the study's folder; returns their bytes."""
    total = 0
    for number in numbers:
        place = folder / "wandb" / f"offline-run-20261121_120000-{run_id(number, folder.name)}"
        place.mkdir(parents=True, exist_ok=True)
        data = template.like(number, folder.name)
        (place / f"run-{run_id(number, folder.name)}.wandb").write_bytes(data)
        total += len(data)
    return total
