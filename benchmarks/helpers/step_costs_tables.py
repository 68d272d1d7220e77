"""The tables and the figure of `benchmarks.step_costs`."""

import statistics
from pathlib import Path
from typing import Any

CURVES: dict[str, tuple[int, ...]] = {"crop": (64, 96, 128, 192, 256), "batch": (2, 4, 8, 16), "classes": (21, 42, 84)}
USUAL = {"crop": 64, "batch": 4, "classes": 21}
"""While another setting is varied."""


def interpixel_table(by: dict[str, list[dict[str, Any]]]) -> list[str]:
    if not by["interpixel"]:
        return []
    lines = [
        "| loss of one view | form | CPU s, forward and backward | to ours | peak above the logits, in their size "
    ]
    lines[0] += "| to ours |"
    lines.append("|---|---|---|---|---|---|")
    for setting in dict.fromkeys(row["setting"] for row in by["interpixel memory"]):
        times = {
            name: statistics.median(
                row["cpu_seconds"] for row in by["interpixel"] if (row["setting"], row["name"]) == (setting, name)
            )
            for name in ("blocks", "formula")
        }
        maps = {row["name"]: row["maps"] for row in by["interpixel memory"] if row["setting"] == setting}
        for name in ("blocks", "formula"):
            ratios = times[name] / times["blocks"], maps[name] / maps["blocks"]
            lines.append(
                f"| {setting} | {name} | {times[name]:.3f} | {ratios[0]:.2f} | {maps[name]:.2f} | {ratios[1]:.2f} |"
            )
    return [*lines, ""]


def roofline_table(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["| step | TFLOP | GB moved | measured products, GFLOP/s | copies, GB/s | s at these rates | s | share |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in found:
        rates = [" to ".join(f"{one:.3g}" for one in sorted(row[name])) for name in ("gflops", "gbytes")]
        cells = [row["name"], f"{row['tflop']:.3g}", f"{row['gbyte']:.3g}", *rates, f"{row['least']:.3f}"]
        cells += [f"{row['seconds']:.3f}", f"{100 * row['least'] / row['seconds']:.0f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def other_tables(by: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = []
    if by["processes"]:
        one, two = (
            statistics.median(row["seconds"] for row in by["processes"] if row["processes"] == count)
            for count in (1, 2)
        )
        lines += [
            f"Two processes: {one / two:.2f} times the steps a second of one, of the same batch in all ({two:.3f} s a "
            f"step against {one:.3f} s). On a CPU each batch norm waits for the other process twice a pass.",
            "",
        ]
    if by["evaluation"]:
        share, seconds = (statistics.median(row[name] for row in by["evaluation"]) for name in ("share", "seconds"))
        lines += [f"Evaluation at the demo's settings: {100 * share:.1f} % of an epoch's time, {seconds:.2f} s.", ""]
    return lines


def curves_table(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["| small network, cached batches, one thread | CPU s a step (rounds) | s a step | to the first |"]
    lines.append("|---|---|---|---|")
    for axis in CURVES:
        settings = _by_value(found, axis)
        for value, rows in settings.items():
            cpu, seconds = ([row[name] for row in rows] for name in ("cpu_seconds", "seconds"))
            first = statistics.median(row["cpu_seconds"] for row in next(iter(settings.values())))
            lines.append(
                f"| {axis} {value}, {_others(axis)} | {statistics.median(cpu):.3f} ({min(cpu):.3f} to {max(cpu):.3f}) "
                f"| {statistics.median(seconds):.3f} | {statistics.median(cpu) / first:.2f} |"
            )
    return [*lines, ""]


def _by_value(found: list[dict[str, Any]], axis: str) -> dict[int, list[dict[str, Any]]]:
    rows = [row for row in found if row["axis"] == axis]
    return {value: [row for row in rows if row["value"] == value] for value in sorted({row["value"] for row in rows})}


def _others(axis: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in USUAL.items() if name != axis)


def draw(found: list[dict[str, Any]], file: Path) -> None:
    """One panel for each axis, CPU seconds of every round as points, their medians joined."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(CURVES), figsize=(11, 3.6), layout="constrained")
    names = {"crop": "side of the crop (pixels)", "batch": "labelled images (as many unlabelled)", "classes": "classes"}
    for panel, axis in zip(panels, CURVES, strict=True):
        times = {value: [row["cpu_seconds"] for row in rows] for value, rows in _by_value(found, axis).items()}
        for value, some in times.items():
            panel.plot([value] * len(some), some, "o", color="0.6", markersize=4)
        panel.plot(list(times), [statistics.median(some) for some in times.values()], color="tab:blue")
        panel.set(xlabel=names[axis], ylim=(0, None), xticks=list(times), title=_others(axis))
    panels[0].set_ylabel("CPU seconds a step")
    figure.savefig(file, dpi=120)
    plt.close(figure)
