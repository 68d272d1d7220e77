"""The rooms of the three packages and the imports between them, as a picture and as figures.

    python -m benchmarks.rooms --out docs/rooms.png
    python -m benchmarks.rooms --tree ../older       # how large modules and classes were there

The order of the rooms is that of the contracts in `pyproject.toml`, by which the linter refuses an arrow that points
up."""

import ast
import statistics
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import grimp
import typer
from matplotlib.figure import Figure

PACKAGES = ("ipix_tune", "analysis", "trainers")
ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"ipix_tune": "#0072b2", "analysis": "#009e73", "trainers": "#d55e00"}

Place = tuple[float, float]


def layers() -> dict[str, list[list[str]]]:
    """Of each package its rooms from top to bottom; rooms of one layer do not import each other."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {
        one["containers"][0]: [line.split(" | ") for line in one["layers"]]
        for one in contracts
        if one["type"] == "layers"
    }


def room_of(module: str) -> str:
    """The first two parts of a module's name."""
    return ".".join(module.split(".")[:2])


def imports() -> Counter[tuple[str, str]]:
    """How many imports there are from one room to another, of this package or of another."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if room_of(module) != room_of(imported):
                found[room_of(module), room_of(imported)] += 1
    return found


def files(room: str) -> list[Path]:
    """The files of a room."""
    path = ROOT / room.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def draw(arrows: Counter[tuple[str, str]]) -> Figure:
    """The picture."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    axes: Any = figure.add_subplot()
    places: dict[str, Place] = {}
    for column, (package, rows) in enumerate(layers().items()):
        axes.text(4 * column, 0.9, package, ha="center", weight="bold", size=13, color=COLOURS[package])
        for row, rooms in enumerate(rows):
            for index, room in enumerate(rooms):
                x = 4 * column + (index - (len(rooms) - 1) / 2) * 3.4 / max(len(rooms), 1)
                places[f"{package}.{room}"] = (x, -1.15 * row)
    for (start, end), count in sorted(arrows.items()):
        if start in places and end in places and start.split(".")[0] == end.split(".")[0]:
            style = {"arrowstyle": "-|>", "lw": 0.5 + count / 12, "alpha": 0.45, "color": COLOURS[start.split(".")[0]]}
            bend = "arc3,rad=0.25" if abs(places[start][1] - places[end][1]) > 1.2 else "arc3,rad=0"
            shrink = {"shrinkA": 12, "shrinkB": 14, "connectionstyle": bend}
            axes.annotate("", places[end], places[start], arrowprops=style | shrink)
    for room, (x, y) in places.items():
        label = (
            f"{room.partition('.')[2]}\n{len(files(room))} files"
            if (ROOT / room.replace(".", "/")).is_dir()
            else room.partition(".")[2]
        )
        box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": COLOURS[room.split(".")[0]]}
        axes.text(x, y, label, ha="center", va="center", size=9, bbox=box)
    across = Counter({(a, b): 0 for a in PACKAGES for b in PACKAGES if a != b})
    for (start, end), count in arrows.items():
        if start.split(".")[0] != end.split(".")[0]:
            across[start.split(".")[0], end.split(".")[0]] += count
    said = ", ".join(f"{start} → {end}: {count} imports" for (start, end), count in across.items() if count)
    lowest = min(y for _, y in places.values())
    axes.text(4, lowest - 1.1, said, ha="center", size=10)
    axes.set(xlim=(-2.1, 10.1), ylim=(lowest - 1.5, 1.4))
    axes.axis("off")
    return figure


def sizes(tree: Path) -> list[str]:
    """Lines of modules, and lines and methods of classes, in a checkout: the medians and the largest."""
    lines, classes = {}, {}
    for path in (path for package in PACKAGES for path in sorted((tree / package).rglob("*.py"))):
        text = path.read_text()
        if path.name != "__init__.py":
            lines[str(path.relative_to(tree))] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                methods = sum(isinstance(one, ast.FunctionDef) for one in node.body)
                classes[f"{node.name} ({path.relative_to(tree)})"] = ((node.end_lineno or 0) - node.lineno + 1, methods)
    longest = max(lines, key=lambda name: lines[name])
    widest = max(classes, key=lambda name: classes[name])
    return [
        f"{len(lines)} modules, {sum(lines.values())} lines; median {statistics.median(lines.values()):.0f}, largest "
        f"{longest} with {lines[longest]}, {sum(count > 300 for count in lines.values())} above 300",
        f"{len(classes)} classes; largest {widest} with {classes[widest][0]} lines and {classes[widest][1]} methods",
    ]


def upward(arrows: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """Arrows that do not point down."""
    rank = {
        f"{package}.{room}": depth
        for package, rows in layers().items()
        for depth, rooms in enumerate(rows)
        for room in rooms
    }
    inside = [(a, b) for a, b in arrows if a.split(".")[0] == b.split(".")[0] and a in rank and b in rank]
    return [(a, b) for a, b in inside if rank[b] <= rank[a]]


def main(
    out: Annotated[Path | None, typer.Option(help="Where the picture goes.")] = None,
    tree: Annotated[Path | None, typer.Option(help="Another checkout: print its sizes alone.")] = None,
) -> None:
    """Print the figures, and draw the picture."""
    for line in sizes(tree or ROOT):
        typer.echo(line)
    if tree is not None:
        return
    arrows = imports()
    typer.echo(f"{sum(arrows.values())} imports between rooms, {len(upward(arrows))} of them upward")
    if out is not None:
        draw(arrows).savefig(out, dpi=110)
        typer.echo(str(out))


if __name__ == "__main__":
    typer.run(main)
