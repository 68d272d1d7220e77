"""A search that has ended is safe where its confirmation cannot begin."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from ipix_tune.cli.sweep import _run
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.cluster import ClusterError
from tests.ipix_tune.studies import base


def test_what_goes_on_with_the_confirmation_is_said_last(monkeypatch, tmp_path):
    def busy(*_, **__):
        raise ClusterError("the machine is too busy")

    ended = SimpleNamespace(cut_short=None, scored=3, headline="3/3 trials ended", by_user=False, lacking=())
    monkeypatch.setattr("ipix_tune.study.run_search.run", lambda *_, **__: ended)
    monkeypatch.setattr("ipix_tune.study.run_search.finish", lambda *_, **__: True)
    monkeypatch.setattr("ipix_tune.study.run_confirm.confirm", busy)
    confirm = {"after_search": True, "defaults": {"interpixel.alpha": 0.0}}
    study = StudyConfig.model_validate({**base(), "storage": str(tmp_path), "confirm": confirm})
    said = io.StringIO()
    again = "ipix-tune sweep small.yaml --resume"
    with pytest.raises(SystemExit) as ended_with:
        _run(
            study,
            again=again,
            resume=False,
            retry_failed=False,
            smoke=False,
            address=None,
            console=Console(file=said),
        )
    assert ended_with.value.code == 1
    assert said.getvalue().splitlines()[-2:] == [
        "the search is safe, and was not confirmed: the machine is too busy",
        f"once that is mended, confirm it with: {again}",
    ]
