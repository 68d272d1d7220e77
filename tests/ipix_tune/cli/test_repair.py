"""`ipix-tune repair` makes the logs of a study whole, and says what the server lacks still."""

import pytest

from ipix_tune.cli.exit_codes import run
from ipix_tune.cli.main import app
from tests.ipix_tune.execution.test_complete_logs import WHOLE, seen, study, trained  # noqa: F401


@pytest.fixture
def repaired(study, monkeypatch, capsys):  # noqa: F811
    """What the command prints for a study of which a client lost an epoch and an end, and the study's folder."""
    place, _, _ = trained(study, logged=[(3, True), (1, False), (1, True)])
    monkeypatch.setattr("analysis.page.build.build", lambda place: place / "report.html")

    def call():
        with pytest.raises(SystemExit) as left:
            run(app, args=["repair", str(place)], prog_name="ipix-tune")
        return left.value.code, capsys.readouterr().out, place

    return call


def test_what_lacks_is_logged_again_and_named(repaired):
    code, said, place = repaired()
    assert code == 0
    assert "search: 2 of 3 trials that ended were not whole in the logs" in said
    assert "logged again: t0001 (its end)" in said
    assert "logged again: t0002 (1 epoch)" in said
    assert "wandb-sync" not in said
    assert seen(place) == WHOLE
    assert "search: 0 of 3 trials" in repaired()[1]


def test_of_an_online_study_it_names_how_to_send_what_the_server_lacks(repaired, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    code, said, place = repaired()
    assert code == 0
    assert f"the server lacks them still; send them with: ipix-tune wandb-sync {place}" in said
