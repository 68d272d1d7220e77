"""A folder of mixed files goes from `init` over the dry run and a real study to a report, and no file is edited."""

import subprocess
import sys

import pytest

from tests.real_files import mixed_folder


def command(folder, *args):
    """Standard output of a command line in a folder; an exit code other than 0 fails the test."""
    done = subprocess.run([sys.executable, "-m", *args], cwd=folder, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_folder_of_mixed_files_becomes_a_report_without_an_edit(tmp_path):
    images, masks = mixed_folder(tmp_path)
    said = command(tmp_path, "ipix_tune.cli.main", "init", "--images", str(images), "--masks", str(masks))
    assert said.strip().splitlines()[-1] == "next: ipix-tune sweep study.yaml --dry-run"
    plan = command(tmp_path, "ipix_tune.cli.main", "sweep", "study.yaml", "--dry-run")
    assert "19 labelled, 21 unlabelled, 5 holdout, 5 val" in " ".join(plan.split())
    command(tmp_path, "ipix_tune.cli.main", "sweep", "study.yaml")
    page = (tmp_path / "studies" / "Bilder-der-Ubung" / "report.html").read_text()
    assert "All 8 trials" in page
    assert (tmp_path / "studies" / "Bilder-der-Ubung" / "best.yaml").is_file()
