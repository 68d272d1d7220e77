"""Searches of other projects beside ours: the same problems, workers, virtual clock and measure, tuned by nobody.

    python -m benchmarks.peers run --folder F                    # goes on where it was left
    python -m benchmarks.anytime table --raw F/raw.jsonl --raw OURS.jsonl --out benchmarks/results/peers_202611.md

`F/environments` gets an environment a project, from the package index, when it is first needed. `F/errors` has what a
search printed; one that fails is named, and the run goes on with the next.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from threadpoolctl import threadpool_limits

from benchmarks.anytime import FAMILIES, Problem, Race, Raw, as_row, read_raw, reference_of, write_row
from benchmarks.helpers.anytime_tables import REFERENCE
from benchmarks.peers.environments import python_of
from benchmarks.peers.race import Agent, PeerError, PeerRace

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """``environment``: of `benchmarks.peers.environments`. ``variant``: of those that ``script`` serves. ``prior``:
    whether it is given the good prior (True) or the misleading one."""

    environment: str
    script: str
    variant: str
    prior: bool | None = None


PEERS = {
    "Optuna TPE, successive halving": Peer(environment="optuna", script="with_optuna.py", variant="halving"),
    "Optuna TPE, Hyperband": Peer(environment="optuna", script="with_optuna.py", variant="hyperband"),
    "Syne Tune ASHA": Peer(environment="syne_tune", script="with_syne_tune.py", variant="asha"),
    "Syne Tune ASHA, promotion": Peer(environment="syne_tune", script="with_syne_tune.py", variant="asha promotion"),
    "Syne Tune MOBSTER": Peer(environment="syne_tune", script="with_syne_tune.py", variant="mobster"),
    "Syne Tune Hyper-Tune": Peer(environment="syne_tune", script="with_syne_tune.py", variant="hypertune"),
    "Syne Tune DyHPO": Peer(environment="syne_tune", script="with_syne_tune.py", variant="dyhpo"),
    "SMAC3 multi-fidelity": Peer(environment="smac", script="with_smac.py", variant="hyperband"),
    "NePS Hyperband": Peer(environment="neps", script="with_neps.py", variant="hyperband"),
    "NePS PriorBand, good prior": Peer(environment="neps", script="with_neps.py", variant="priorband", prior=True),
    "NePS PriorBand, misleading prior": Peer(
        environment="neps", script="with_neps.py", variant="priorband", prior=False
    ),
}


class Agents:
    """The processes of the searches, each begun when it is first asked for and kept for the next problem."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._agents: dict[str, Agent] = {}

    def of(self, peer: Peer) -> Agent:
        if peer.script not in self._agents:
            python = python_of(peer.environment, self._folder / "environments")
            errors = self._folder / "errors" / f"{Path(peer.script).stem}.log"
            errors.parent.mkdir(parents=True, exist_ok=True)
            self._agents[peer.script] = Agent(python, peer.script, errors)
        return self._agents[peer.script]

    def end(self, *scripts: str) -> None:
        """End these, or all."""
        for script in scripts or list(self._agents):
            self._agents.pop(script).end()


def measure(one: Problem, name: str, target: float, *, agents: Agents, limit_s: float) -> dict[str, Any]:
    """The row of one peer on one problem.

    Raises:
        PeerError: the search failed; its process has been ended.
    """
    peer = PEERS[name]
    search = one.plain if peer.prior is None else one.priors[peer.prior]
    centers = {key: dimension.prior.center for key, dimension in search.items() if dimension.prior is not None}
    race = PeerRace(problem=one, agent=agents.of(peer), race=Race(target=target), limit_s=limit_s)
    try:
        found = race.run(peer.variant, search=search, prior=centers or None)
    except PeerError:
        agents.end(peer.script)
        raise
    row = as_row(one, name, found)
    return row | {"cut": True} if race.cut and not found.won else row


def take_reference(found: Raw, raw: Path, one: Problem, files: list[Path]) -> None:
    """Take the problem's target from another file; it is the same wherever it is computed."""
    key = (one.family, one.seed, REFERENCE)
    rows = [row for file in files if (row := read_raw(file).get(key)) is not None]
    if rows and key not in found:
        write_row(found, raw, rows[0])


def _missing(found: Raw, one: Problem, names: list[str]) -> list[str]:
    return [name for name in names if (one.family, one.seed, name) not in found]


@app.command()
def run(
    folder: Annotated[Path, typer.Option(help="For environments, rows and what went wrong.")],
    families: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(FAMILIES),
    searches: Annotated[str, typer.Option(help="Separated by semicolons.")] = ";".join(PEERS),
    repetitions: Annotated[int, typer.Option(min=1)] = 10,
    first_seed: Annotated[int, typer.Option(min=0)] = 0,
    limit_s: Annotated[float, typer.Option(help="CPU seconds after which a search's process is cut off.")] = 1800.0,
    references: Annotated[
        list[Path] | None, typer.Option(help="Raw files of `benchmarks.anytime` that have targets already.")
    ] = None,
) -> None:
    """Run what is missing, all families and searches of a repetition before the next."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "raw.jsonl"
    found = read_raw(raw)
    agents = Agents(folder)
    for seed in range(first_seed, first_seed + repetitions):
        for family in families.split(","):
            one = Problem(family, seed)
            wanted = _missing(found, one, searches.split(";"))
            if wanted:
                take_reference(found, raw, one, references or [])
            for name in wanted:
                with threadpool_limits(1):
                    target = reference_of(found, raw, one)["target"]
                    try:
                        write_row(found, raw, measure(one, name, target, agents=agents, limit_s=limit_s))
                    except PeerError as error:
                        print(f"{family} {seed} {name}: {error}", file=sys.stderr, flush=True)
    agents.end()


@app.callback()
def _commands() -> None:
    """`run`."""


if __name__ == "__main__":
    app()
