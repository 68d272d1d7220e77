"""Where a result was made: versions, commit, device, host."""

import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pillow"),
    *("ray", "optuna", "wandb", "pyarrow"),
)
"""Distributions whose version can move a run's scores, or says how they were searched and logged."""


def describe(device: str | None = None) -> dict[str, Any]:
    """JSON-able facts of this process's environment. A package that is not installed is left out."""
    return {
        "python": platform.python_version(),
        "versions": package_versions(),
        "git_commit": git_commit(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "device": device,
    }


def package_versions() -> dict[str, str]:
    """Versions of `PACKAGES`, by distribution; one that is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The checkout's commit, with "+changes" where tracked files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")
