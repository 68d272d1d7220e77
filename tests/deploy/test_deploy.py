"""The files in deploy/: accepted by those who will read them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError
from ruamel.yaml import YAML

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy"


def read(name):
    return YAML(typ="safe").load(DEPLOY / name)


def launched(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_cluster_file():
    prepared = launched(read("ray-cluster.yaml"))
    assert prepared["max_workers"] == 2


def test_ray_refuses_a_cluster_file_with_a_misspelt_key():
    with pytest.raises(ValidationError, match="head_start_commands"):
        launched(read("ray-cluster.yaml") | {"head_start_commands": []})


@pytest.fixture(scope="module")
def rayjob():
    return Draft202012Validator(json.loads((HERE / "rayjob.schema.json").read_text()))


def test_kuberay_accepts_the_rayjob(rayjob):
    rayjob.validate(read("kuberay-rayjob.yaml"))


def test_kuberay_refuses_a_rayjob_with_a_misspelt_key_in_a_container(rayjob):
    job = read("kuberay-rayjob.yaml")
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    worker["volumeMount"] = worker.pop("volumeMounts")
    assert [error.message for error in rayjob.iter_errors(job)] == [
        "Additional properties are not allowed ('volumeMount' was unexpected)"
    ]


def test_the_rayjob_runs_the_ray_that_the_tests_run():
    import ray

    assert read("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__


@pytest.mark.parametrize("there", [False, True])
def test_the_rayjobs_command_resumes_where_there_is_a_study(tmp_path, there):
    """The shell that Ray starts for a job's command, with `python` printing its arguments."""
    command = read("kuberay-rayjob.yaml")["spec"]["entrypoint"].replace("/shared", str(tmp_path))
    if there:
        (tmp_path / "studies" / "voc").mkdir(parents=True)
        (tmp_path / "studies" / "voc" / "study.yaml").touch()
    printed = subprocess.run(f'python() {{ echo "$@"; }}; {command}', shell=True, capture_output=True, text=True)
    assert printed.stdout.split()[:3] == ["-m", "ipix_tune.sweep", "/app/search_spaces/voc.yaml"]
    assert printed.stdout.split()[-1] == ("--resume" if there else "resources.gpus_per_worker=1")


def test_bash_reads_the_slurm_script():
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], check=True)


def test_the_rayjob_has_the_image_of_the_dockerfile_and_shared_memory():
    job = (DEPLOY / "kuberay-rayjob.yaml").read_text()
    built = re.search(r"docker build -t (\S+)", (DEPLOY / "Dockerfile").read_text())[1]
    assert f"image: &image {built} " in job
    volumes = read("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volumes[1] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}


def test_the_dockerfile_names_the_packages_version_and_a_python_that_is_supported():
    text = (DEPLOY / "Dockerfile").read_text()
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert f"ipix-tune:{project['version']}" in text
    minor = re.search(r"^FROM python:3\.(\d+)\.\d+-", text, re.MULTILINE)[1]
    assert f"Programming Language :: Python :: 3.{minor}" in project["classifiers"]


def test_the_image_is_given_the_packages_that_shipped_studies_need():
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    command = [sys.executable, "-c", re.search(r'RUN python -c "(.*?)" >', text)[1]]
    printed = subprocess.run(command, cwd=DEPLOY.parent, capture_output=True, text=True, check=True).stdout
    names = {re.split(r"[\[<>=]", line)[0] for line in printed.splitlines()}
    assert {"torch", "ray", "optuna", "timm", "segmentation-models-pytorch"} <= names


def test_the_dockerfile_copies_only_what_the_checkout_has():
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((DEPLOY.parent / name).exists() for name in line.split()[1:-1])


def test_an_image_holds_nothing_that_git_ignores():
    """`COPY . .` would take an environment and studies along."""
    root = DEPLOY.parent
    ignored = {line.strip("/") for line in (root / ".gitignore").read_text().split()}
    left_out = (root / ".dockerignore").read_text().splitlines()[1:]
    assert {line.removeprefix("**/") for line in left_out} == ignored
