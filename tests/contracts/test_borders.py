"""Who may import whom, checked in fresh processes."""

import subprocess
import sys
from pathlib import Path

import pytest

OUTSIDERS = {
    "trainers": {"ray", "optuna", "wandb", "ipix_tune", "analysis"},
    "analysis": {"torch", "ray", "optuna", "trainers", "ipix_tune"},
}

PROBE = """
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys({outsiders!r})  # whoever needs one of them fails; a library may do without
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize("package", ["ipix_tune", "analysis", "trainers"])
def test_a_package_has_nine_rooms_at_most(package):
    root = Path(__file__).parents[2]
    rooms = {one.parent.name for one in (root / package).glob("*/__init__.py")}
    assert len(rooms) <= 9, sorted(rooms)


@pytest.mark.parametrize("package", ["ipix_tune", "analysis", "trainers"])
def test_the_tests_lie_in_the_rooms_of_their_package(package):
    root = Path(__file__).parents[2]
    rooms = {one.parent.name for one in (root / package).glob("*/*.py")}
    assert {one.parent.name for one in (root / "tests" / package).glob("*/*.py")} <= rooms


@pytest.mark.parametrize("package", sorted(OUTSIDERS))
def test_every_module_of_a_package_can_do_without_what_lies_beyond_its_border(package):
    probe = PROBE.format(package=package, outsiders=sorted(OUTSIDERS[package]))
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_is_printed_without_loading_torch_ray_or_optuna():
    code = (
        "import sys\nfrom ipix_tune.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(printed.rsplit("LOADED", 1)[1].split())
    assert loaded & {"torch", "ray", "optuna", "wandb"} == set()


@pytest.mark.slow
def test_a_resume_that_is_refused_loads_neither_ray_nor_optuna_nor_wandb(tmp_path):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom ipix_tune.cli.sweep import app\n"
        f"asked = ['search_spaces/digits.yaml', '--resume', '--set', 'storage={tmp_path}']\n"
        "print(CliRunner().invoke(app, asked).exception)\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "no study to resume" in ended.stdout
    assert set(ended.stdout.rsplit("LOADED", 1)[1].split()) & {"ray", "optuna", "wandb"} == set()
