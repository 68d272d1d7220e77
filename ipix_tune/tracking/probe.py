"""Does W&B's client take this study's runs? Asked before the first trial, by logging one run to a scratch folder."""

import tempfile
import time
from pathlib import Path

from analysis.ingest.wandb_files import read_folder
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.tracking.shell_environment import check_logged, clear, wandb_mode
from trainers.common.errors import ConfigError

WRITTEN_S = 20.0
"""Longest wait for what was logged to be on disk."""


def probe(study: StudyConfig) -> list[str]:
    """Clear the environment, and log a run of one epoch as a trial's would be; nothing is sent to a server.

    Returns:
        what was cleared, a line each.

    Raises:
        ConfigError: W&B's client cannot be imported, it refuses the project, the entity or a setting, or its file does
            not hold what was logged.
    """
    lines = clear()
    check_logged(study)
    if wandb_mode(study.logging) == "disabled":
        return lines
    _check_import()
    with tempfile.TemporaryDirectory(prefix="ipix-tune-probe-") as folder:
        try:
            logged = _logged(study, Path(folder))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"logging.project = {study.logging.project}, logging.entity = {study.logging.entity}: W&B takes no run "
                f"with these and this shell's WANDB_ variables: {reason}. All answers are made from W&B's files, so "
                "the study does not start"
            ) from None
    if not logged:
        raise ConfigError(
            "W&B's client wrote a run of one epoch, and its file does not hold it. Which wandb is installed? "
            "constraints.txt names the one that is tested"
        )
    return lines


def _check_import() -> None:
    """A client that is absent or broken is no fault of the project's name."""
    try:
        import wandb  # noqa: F401
    except Exception as error:  # a package that it needs may be too new for it, and fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"W&B's client cannot be imported: {reason}. A study logs its runs with it, offline too. Install the "
            "version that is tested: pip install -c constraints.txt wandb"
        ) from None


def _logged(study: StudyConfig, folder: Path) -> bool:
    import wandb

    from ipix_tune.tracking.client import client_settings

    run = wandb.init(
        project=study.logging.project,
        entity=study.logging.entity,
        id=f"{study.name}-probe",
        dir=str(folder),
        mode="offline",
        reinit="create_new",
        settings=client_settings(),
    )
    run.log({"epoch": 1, study.objective.metric: 1.0}, step=1, commit=True)
    run.finish()
    begun = time.monotonic()
    while time.monotonic() - begun < WRITTEN_S:  # the client's own process writes after `finish` has returned
        runs, _ = read_folder(folder)
        if [(one.run_id, sorted(one.history)) for one in runs] == [(run.id, [1])]:
            return run.id == f"{study.name}-probe"
        time.sleep(0.05)
    return False
