import pytest

from analysis.ingest.wandb_files import read_file, records
from benchmarks.helpers.wandb_files import Template, framed, log_with_client, scores


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    return log_with_client(tmp_path_factory.mktemp("client"), "scale")


def test_the_clients_records_framed_again_are_the_clients_file(logged):
    data = logged.read_bytes()
    assert framed(list(records(data))) == data


def test_the_reader_sees_the_same_in_a_written_file_as_in_the_clients(logged, tmp_path):
    written = tmp_path / "run-scale-t0000.wandb"
    written.write_bytes(Template(logged.read_bytes()).like(0, "scale"))
    assert read_file(written) == read_file(logged)


def test_another_trial_has_its_own_name_and_scores(logged, tmp_path):
    written = tmp_path / "run-scale-t0007.wandb"
    written.write_bytes(Template(logged.read_bytes()).like(7, "scale"))
    run, problem = read_file(written)
    assert problem is None
    assert run.run_id == "scale-t0007"
    assert [row["val/miou"] for _, row in sorted(run.history.items())] == scores(7)
