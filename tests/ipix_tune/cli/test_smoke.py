"""`--smoke`: two tiny trials through every part."""

from pathlib import Path

import pytest

from ipix_tune.cli.sweep import _tiny
from ipix_tune.config.load_study import dump, load

SPACES = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("file", SPACES, ids=lambda path: path.stem)
def test_the_tiny_study_of_every_shipped_one_is_one_that_can_be_loaded_again(file, tmp_path):
    """Its confirmation and its export read it from the study's folder."""
    tiny = _tiny(load(file))
    (tmp_path / "study.yaml").write_text(dump(tiny))
    again = load(tmp_path / "study.yaml")
    assert again.trainer["schedule"]["epochs"] == 2
    assert again.budget.trials == 2
