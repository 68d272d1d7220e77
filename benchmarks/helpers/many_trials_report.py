"""Tables and curves of `benchmarks.many_trials`."""

import itertools
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import psutil

PARTS = 5
"""Parts of a study, of the same number of ended trials, that the table compares."""
WARM = 0.2
"""Share of a driver's first trials that the growth is not fitted on: imports and caches fill."""


def render(lines: Sequence[Mapping[str, Any]], *, study: Path) -> list[str]:
    """The figures of one study as lines of Markdown.

    Args:
        lines: what `Meter` wrote.
        study: the study's folder.
    """
    start, trials = lines[0], lines[-1]["ended"]
    looks, results = _of(lines, "look"), _of(lines, "result")
    pieces = sorted({line["piece"] for line in lines})
    seconds = sum(max(line["s"] for line in lines if line["piece"] == piece) for piece in pieces)
    text = [
        f"## {start['concurrent']} at once",
        "",
        f"{trials} trials ended, {len(results)} results, {seconds:.0f} s, {trials / seconds:.2f} trials a second, "
        f"drivers one after the other: {len(pieces)}. An epoch sleeps {start['seconds']:g} s on the average.",
        "",
        "| trials ended | driver's CPU a trial, s | cores | driver's memory, MiB | W&B's service, MiB | "
        "a result is handled after: median, s | 95 %, s | trials a second | load of the machine |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    edges = np.linspace(0, trials, PARTS + 1)
    text += [_row(looks, results, low, high) for low, high in itertools.pairwise(edges)]
    text += ["", *_growth(looks), "", *_shares(looks, trials), "", *_files(study, trials), ""]
    return text


def foot(commands: Sequence[str]) -> list[str]:
    """How it was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "wandb"))
    return [
        *(f"Command: `python -m benchmarks.many_trials {command}`." for command in dict.fromkeys(commands)),
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, "
        f"{psutil.cpu_count()} CPU cores, no GPU; the trials' processes share the cores with the driver.",
        "",
    ]


def _of(lines: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["kind"] == kind]


def _row(looks: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], low: float, high: float) -> str:
    """One part of the study; of a part that several drivers did, each one's share is added."""
    cpu = seconds = ended = 0.0
    memory = []
    service = [one["service_mib"] for one in looks if low <= one["ended"] <= high and "service_mib" in one]
    for piece in {one["piece"] for one in looks}:
        part = [one for one in looks if one["piece"] == piece and low <= one["ended"] <= high]
        if len(part) > 1:
            cpu += part[-1]["cpu_s"] - part[0]["cpu_s"]
            seconds += part[-1]["s"] - part[0]["s"]
            ended += part[-1]["ended"] - part[0]["ended"]
            memory += [one["rss_mib"] for one in part]
    load = [one["load"] for one in looks if low <= one["ended"] <= high and "load" in one]
    delays = [one["delay_s"] for one in results if low <= one["ended"] <= high]
    return (
        f"| {low:.0f} to {high:.0f} | {cpu / ended:.3f} | {cpu / seconds:.2f} | {memory[0]:.0f} to {memory[-1]:.0f} | "
        f"{f'{service[0]:.0f} to {service[-1]:.0f}' if service else ''} | {np.median(delays):.3f} | "
        f"{np.quantile(delays, 0.95):.2f} | {ended / seconds:.2f} | {f'{np.mean(load):.0f}' if load else ''} |"
    )


def growth(looks: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float, float]:
    """Least-squares growth of ``name`` a trial that ended, with a 95 % interval from a bootstrap over blocks of ten
    looks: neighbouring ones are alike. Every driver has a level of its own."""
    xs, ys = [], []
    for piece in sorted({one["piece"] for one in looks}):
        part = [one for one in looks if one["piece"] == piece and one.get(name)]
        first, last = part[0]["ended"], part[-1]["ended"]
        part = [one for one in part if one["ended"] >= first + WARM * (last - first)]
        if len(part) > 2:
            x, y = (np.array([one[key] for one in part], dtype=float) for key in ("ended", name))
            xs.append(x - x.mean())
            ys.append(y - y.mean())
    x, y = np.concatenate(xs), np.concatenate(ys)
    rng, block = np.random.default_rng(0), 10
    starts = np.arange(max(len(x) - block, 0) + 1)
    drawn = []
    for _ in range(1000):
        index = (rng.choice(starts, -(-len(x) // block))[:, None] + np.arange(min(block, len(x)))).ravel()
        drawn.append(_slope(x[index], y[index]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return _slope(x, y), float(low), float(high)


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())


def _growth(looks: Sequence[Mapping[str, Any]]) -> list[str]:
    text = [
        f"Growth per ended trial, after the first {WARM:.0%} of every driver's, with a 95 % bootstrap interval:",
        "",
    ]
    for name, label in (("rss_mib", "driver's memory"), ("service_mib", "memory of W&B's service")):
        slope, low, high = (1024 * value for value in growth(looks, name))
        text.append(f"- {label}: {slope:.1f} KiB ({low:.1f} to {high:.1f})")
    return text


def _shares(looks: Sequence[Mapping[str, Any]], trials: int) -> list[str]:
    total: dict[str, float] = {}
    for piece in {one["piece"] for one in looks}:
        part = [one for one in looks if one["piece"] == piece]
        total["driver"] = total.get("driver", 0) + part[-1]["cpu_s"]
        around: dict[str, float] = next((one["around"] for one in reversed(part) if "around" in one), {})
        for kind, used in around.items():
            total[kind] = total.get(kind, 0) + used
    whole = sum(total.values())
    text = ["| CPU of the whole machine, by process | s a trial | share |", "|---|---|---|"]
    for kind, used in sorted(total.items(), key=lambda one: -one[1]):
        text.append(f"| {kind} | {used / trials:.3f} | {used / whole:.0%} |")
    return [
        *text,
        "",
        "The driver's includes its start. Processes are looked at every 10 s; what one used after the last look before "
        "its end is not seen.",
    ]


def _files(study: Path, trials: int) -> list[str]:
    text = ["| on disk | files a trial | KiB a trial |", "|---|---|---|"]
    for part in sorted(study.iterdir()):
        files = [one for one in (part, *part.rglob("*")) if one.is_file() and not one.is_symlink()]
        size = sum(one.stat().st_size for one in files)
        if size / trials > 8:
            text.append(f"| {part.name} | {len(files) / trials:.2g} | {size / 1024 / trials:.2f} |")
    return text


def draw(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Memory, CPU and delay against trials that ended."""
    looks, results = _of(lines, "look"), _of(lines, "result")
    figure, (memory, cpu, delay) = plt.subplots(3, sharex=True, figsize=(7, 7), layout="constrained")
    for piece in sorted({line["piece"] for line in lines}):
        part = [one for one in looks if one["piece"] == piece]
        ended = np.array([one["ended"] for one in part])
        memory.plot(ended, [one["rss_mib"] for one in part], color="C0", label="driver")
        served = [one for one in part if "service_mib" in one]
        memory.plot([one["ended"] for one in served], [one["service_mib"] for one in served], color="C1", label="W&B")
        step = 10
        used = np.array([one["cpu_s"] for one in part])[::step]
        at = np.array([one["s"] for one in part])[::step]
        cpu.plot(ended[::step][1:], np.diff(used) / np.diff(at), color="C0")
    delay.plot([one["ended"] for one in results], [one["delay_s"] for one in results], ".", markersize=2)
    memory.set_ylabel("memory (MiB)")
    memory.set_ylim(bottom=0)
    handles, labels = memory.get_legend_handles_labels()
    memory.legend(*zip(*dict(zip(labels, zip(handles, labels, strict=True), strict=True)).values(), strict=True))
    cpu.set_ylabel("driver's CPU (cores)")
    cpu.set_ylim(bottom=0)
    delay.set_ylabel("delay of a result (s)")
    delay.set_yscale("log")
    delay.set_xlabel("trials ended")
    memory.set_title(f"{lines[-1]['ended']} trials, {lines[0]['concurrent']} at once")
    figure.savefig(path, dpi=90)
    plt.close(figure)
