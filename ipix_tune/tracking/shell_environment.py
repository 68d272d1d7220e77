"""What the shell's environment may say to the libraries that a study uses: checked or cleared here, once, and said."""

import os
from collections.abc import MutableMapping

from ipix_tune.config.study_config import LoggingConfig, StudyConfig
from trainers.common.errors import ConfigError, did_you_mean

CLEARED = {
    "WANDB_SWEEP_ID": "runs would get ids that no trial has",
    "WANDB_SWEEP_PARAM_PATH": "W&B would lay the values of another sweep over a trial's config",
    "WANDB_LAUNCH": "runs would get ids that no trial has",
    "WANDB_LAUNCH_CONFIG_PATH": "W&B would lay a launch job's config over a trial's",
    "WANDB_CONFIG_PATHS": "W&B would lay these files over a trial's config",
    "WANDB_RESUME": "W&B would refuse or continue runs by its own rule",
    "WANDB_FORK_FROM": "runs would begin as another one",
    "WANDB_RESUME_FROM": "runs would begin as another one",
    "WANDB_DISABLED": "no trial would be logged; logging.mode or WANDB_MODE says that",
    "WANDB_SERVICE": "another program's W&B process may hold runs of the same ids",
    "TUNE_RESULT_DIR": "Ray Tune would write beside the study's folder",
    "RAY_AIR_LOCAL_CACHE_DIR": "Ray Tune would end with an error of its own",
    "TUNE_RESULT_BUFFER_LENGTH": "trials would train epochs after the one at which they are stopped",
    "TUNE_RESULT_BUFFER_MIN_TIME_S": "trials would train epochs after the one at which they are stopped",
    "RAY_TRAIN_V2_ENABLED": "trials of several workers need Ray Train's second version",
    "TUNE_ORIG_WORKING_DIR": "relative paths would be another study's",
    "RAY_RUNTIME_ENV_HOOK": "trials would run in another environment than the study's",
}
"""Variables that a study ignores, and what they would do."""
SILENT = frozenset({"WANDB_SERVICE"})
"""Variables that a program sets by itself; they are cleared silently."""

MODES = ("offline", "online", "disabled")


def clear(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Remove `CLEARED` from the environment; returns a line for each that was set."""
    found = [name for name in CLEARED if environment.pop(name, None) is not None]
    return [f"{name} is set in this shell and is ignored: {CLEARED[name]}" for name in found if name not in SILENT]


def wandb_mode(logging: LoggingConfig) -> str:
    """How W&B logs: what WANDB_MODE says, else `logging.mode`.

    Raises:
        ConfigError: WANDB_MODE is none of the three modes.
    """
    asked = os.environ.get("WANDB_MODE")
    if not asked:
        return logging.mode
    if asked not in MODES:
        raise ConfigError(
            f"WANDB_MODE = {asked} takes precedence over logging.mode: unset it, or set it to one of "
            f"{', '.join(MODES)}{did_you_mean(asked, MODES)}"
        )
    return asked


def check_logged(study: StudyConfig) -> None:
    """Raises ConfigError where the search is to be confirmed and nothing is logged: verdicts come from the logs."""
    if study.confirm is not None and study.confirm.after_search and wandb_mode(study.logging) == "disabled":
        raise ConfigError(
            "WANDB_MODE is disabled and confirm.after_search is true: verdicts are computed from what W&B logged; "
            "unset WANDB_MODE or set it to offline"
        )
