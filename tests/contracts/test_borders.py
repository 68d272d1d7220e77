"""Who may import whom, checked in fresh processes."""

import subprocess
import sys

import pytest

OUTSIDERS = {
    "trainers": {"ray", "optuna", "wandb", "ipix_tune", "analysis"},
    "analysis": {"torch", "ray", "optuna", "trainers", "ipix_tune"},
}

PROBE = """
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(" ".join(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


@pytest.mark.parametrize("package", sorted(OUTSIDERS))
def test_importing_every_module_of_a_package_loads_nothing_beyond_its_border(package):
    printed = subprocess.run(
        [sys.executable, "-c", PROBE.format(package=package)], capture_output=True, text=True, check=True
    ).stdout
    assert set(printed.split()) & OUTSIDERS[package] == set()


def test_help_is_printed_without_loading_torch_ray_or_optuna():
    code = (
        "import sys\nfrom ipix_tune.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(printed.rsplit("LOADED", 1)[1].split())
    assert loaded & {"torch", "ray", "optuna", "wandb"} == set()
