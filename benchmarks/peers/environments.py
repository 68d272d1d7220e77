"""The environments of the other projects: made when a search needs one, with the versions that are named here."""

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = {
    "optuna": ("optuna==5.0.0",),
    "syne_tune": ("syne-tune[gpsearchers]==0.13.0", "numpy==1.26.4", "scipy==1.17.1", "autograd==1.9.1"),
    "smac": ("smac==2.4.1", "ConfigSpace==1.2.2", "scikit-learn==1.9.1"),
    "neps": ("neural-pipeline-search==0.17.0",),
}
"""By environment, what pip installs. Syne Tune 0.16.0, the latest, has MOBSTER, Hyper-Tune and DyHPO no more."""
MADE = "made"
"""The file that says that an environment is complete."""


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of an environment below ``folder``; it is made where it is not there yet.

    Raises:
        subprocess.CalledProcessError: pip could not install it; what it said has been shown.
    """
    place = folder / name
    python = place / "bin" / "python"
    wanted = "\n".join(REQUIREMENTS[name])
    made = place / MADE
    if not made.exists() or made.read_text() != wanted:
        print(f"{place}: installing {', '.join(REQUIREMENTS[name])}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS[name]], check=True)
        made.write_text(wanted)
    return python
