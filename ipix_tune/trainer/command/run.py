"""One run of a command, on the first node of its trial and on others: started, watched, ended."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from ipix_tune.trainer import told_checkpoints
from ipix_tune.trainer.command.arguments import (
    OWN_FOLDER,
    argv_of,
    config_file,
    meeting_of,
    values_in,
    where_of,
    workdir_of,
    write_settings,
)
from ipix_tune.trainer.command.command_config import CommandRun
from ipix_tune.trainer.command.metrics_source import Epochs
from ipix_tune.trainer.command.placeholders import filled
from ipix_tune.trainer.command.process import CommandFailed, Running, last_lines, wait_for_earlier
from ipix_tune.trainer.interface import Epoch, Report
from ipix_tune.trainer.peers import ALONE, Peers
from ipix_tune.trainer.told_epochs import ToldEpochs
from trainers.common.errors import ConfigError
from trainers.common.home import expanded

LOOK_S = 0.25
"""How often a running command's metrics are looked at."""
OUTPUT, STARTED = "output.log", "started"
"""In a run's folder: what the command prints; a mark that it was begun."""
LONGER_S = 30.0
"""How much longer than `stop_s` an earlier start of a run is waited for."""


def run_first(asked: CommandRun, folder: Path, report: Report, peers: Peers = ALONE) -> None:
    """The run on the first node, whose metrics are read; see `Machine.run`."""
    told = ToldEpochs(folder, report)
    begun = (folder / STARTED).exists()
    if begun and told.last >= asked.epochs:
        told.again()
        return
    output = folder / OUTPUT
    wait_for_earlier(output, seconds=asked.stop_s + LONGER_S)
    resumed = begun and asked.resume is not None and told.last > 0
    if begun and not resumed:
        _aside(folder)
    own = folder / OWN_FOLDER
    own.mkdir(parents=True, exist_ok=True)
    (folder / STARTED).touch()
    told_checkpoints.tell(folder, [f"{OWN_FOLDER}/{pattern}" for pattern in asked.checkpoints])
    if not told.again():
        return
    write_settings(asked, folder)
    peers.first_says(resumed)
    meeting = meeting_of(asked, peers)
    values = values_in(asked, folder, meeting)
    place = expanded(filled(asked.metrics.place, values))
    workdir = workdir_of(asked, values)
    if workdir is not None and not place.is_absolute():
        place = workdir / place
    epochs = Epochs(asked.metrics, place, output, score=asked.score)
    argv = argv_of(asked, folder, resumed=resumed, meeting=meeting)
    began = latest = time.monotonic()
    with (
        Running(argv, **where_of(asked, values), output=output, stop_s=asked.stop_s) as running,
        _ending(peers, running, asked.stop_s),
    ):
        while True:
            code = running.code()
            for epoch, metrics in epochs.new(over=code is not None):
                if epoch > asked.epochs:
                    raise ConfigError(
                        f"the command reported epoch {epoch}, and trainer.epochs is {asked.epochs}: hand it its "
                        "length as {epochs}; see also trainer.metrics.rows_per_epoch"
                    )
                took, latest = {"time/epoch_s": time.monotonic() - latest}, time.monotonic()
                if not told.tell(Epoch(epoch=epoch, metrics={**took, **metrics}, saved=True)):
                    return
            if code is not None:
                break
            if asked.timeout_s is not None and time.monotonic() - began > asked.timeout_s:
                raise ConfigError(_told(output, f"it was not over after {asked.timeout_s:g} s (trainer.timeout_s)"))
            time.sleep(LOOK_S)
    if code != 0 and told.last < asked.epochs:
        raise CommandFailed(_told(output, f"the command ended with status {code}"))
    if told.last == 0:
        where = f" ({place})" if asked.metrics.place else ""
        why = f"the command ended well and reported no epoch in {asked.metrics.described}{where}"
        raise ConfigError(_told(output, why))
    if told.last < asked.epochs:
        raise ConfigError(
            f"the command ended after epoch {told.last} of {asked.epochs} (trainer.epochs); hand it its length as "
            "{epochs}, or give the length that it has"
        )


def run_other(asked: CommandRun, folder: Path, peers: Peers) -> None:
    """The run on a further node of its trial: until the command is over, or the first node has ended the trial.

    Raises:
        CommandFailed: the command ended otherwise than it should.
    """
    output = folder / f"output-{peers.rank}.log"
    folder.mkdir(parents=True, exist_ok=True)
    wait_for_earlier(output, seconds=asked.stop_s + LONGER_S)
    resumed = peers.first_says()
    meeting = meeting_of(asked, peers)
    if not meeting:
        return
    (folder / OWN_FOLDER).mkdir(exist_ok=True)
    if not config_file(asked, folder).exists():  # a folder of this node's own
        write_settings(asked, folder)
    argv = argv_of(asked, folder, resumed=resumed, meeting=meeting)
    where = where_of(asked, values_in(asked, folder, meeting))
    with Running(argv, **where, output=output, stop_s=asked.stop_s) as running:
        while not peers.is_over():
            code = running.code()
            if code == 0:
                return
            if code is not None:
                raise CommandFailed(_told(output, f"the command ended with status {code} on node {peers.rank}"))
            time.sleep(LOOK_S)


@contextlib.contextmanager
def _ending(peers: Peers, running: Running, stop_s: float) -> Iterator[None]:
    """At the end of the block the other nodes are to end too, before the command here is ended: theirs would fail
    without it. Where it is over by itself, theirs may end by themselves."""
    try:
        yield
    finally:
        peers.end(after_s=stop_s if running.code() == 0 else 0.0)


def _told(output: Path, why: str) -> str:
    """What a command printed last, and why that is an error: in the last line, which tables show."""
    lines = last_lines(output)
    return f"the command printed:\n{lines}\n{why}; its last line: {lines.splitlines()[-1]}"


def _aside(folder: Path) -> None:
    """Move what an earlier start left out of the way."""
    number = 1 + sum(1 for _ in folder.glob("earlier-*"))
    place = folder / f"earlier-{number}"
    place.mkdir()
    for old in (folder / OWN_FOLDER, *folder.glob("output*.log")):
        if old.exists():
            old.rename(place / old.name)
