import io

from rich.console import Console

from ipix_tune.execution.progress_table import Display, ProgressTable, TrialRow, describe


def progress(**rows):
    made = ProgressTable(metric="val/miou", mode="max", total=4, max_epochs=9)
    made.rows.update(rows)
    return made


def row(epoch, score, state="complete", *, alpha=None, seed=None, **more):
    alpha = score if alpha is None else alpha
    made = TrialRow(values={"interpixel.alpha": alpha, **({} if seed is None else {"seed": seed})}, state=state, **more)
    made.reported(epoch, score=score, second_score=None)
    return made


def test_the_incumbent_is_the_best_of_those_that_ran_the_longest():
    shown = progress(t0000=row(9, 40.0), t0001=row(9, 42.0), t0002=row(1, 60.0, "stopped"))
    assert shown.best() == ("t0001", 42.0)


def test_of_equal_trials_the_earliest_is_the_incumbent():
    assert progress(t0003=row(9, 40.0, alpha=1), t0001=row(9, 40.0, alpha=2)).best() == ("t0001", 40.0)


def seeds_of_two_configurations():
    """The luckiest run is t0000, the better configuration that of t0001."""
    return progress(
        t0000=row(9, 50.0, alpha=1, seed=0),
        t0001=row(9, 41.0, alpha=2, seed=0),
        t0002=row(9, 20.0, alpha=1, seed=1),
        t0003=row(9, 40.0, alpha=2, seed=1),
    )


def test_in_a_grid_over_seeds_the_incumbent_has_the_best_mean_and_not_the_luckiest_run():
    assert seeds_of_two_configurations().best() == ("t0001", 40.5)


def test_the_headline_says_how_many_seeds_are_behind_a_mean():
    line = seeds_of_two_configurations().headline()
    assert "best so far t0001 40.50 after 9/9 epochs (mean over 2 seeds)" in line


def test_an_epoch_without_a_score_does_not_make_an_earlier_score_a_later_one():
    late = row(4, 50.0, "running")
    late.reported(5, score=None, second_score=None)
    assert progress(t0000=late, t0001=row(5, 40.0, "running")).best() == ("t0001", 40.0)


def test_the_best_that_has_ended_is_not_one_that_still_runs():
    shown = progress(t0000=row(3, 40.0, "stopped"), t0001=row(3, 30.0, "stopped"), t0002=row(5, 50.0, "running"))
    assert shown.contenders(unsettled=()) == {"t0000"}
    assert shown.ended() == {"t0000", "t0001"}


def test_a_failed_trial_is_never_the_incumbent():
    assert progress(t0000=row(9, 40.0), t0001=row(9, 50.0, "failed")).best() == ("t0000", 40.0)


def test_where_less_is_better_the_incumbent_has_the_least():
    shown = progress(t0000=row(9, 1.0), t0001=row(9, 2.0))
    shown.mode = "min"
    assert shown.best() == ("t0000", 1.0)


def test_the_headline_counts_trials_by_state():
    line = progress(t0000=row(9, 40.0), t0001=row(1, 1.0, "stopped"), t0002=row(2, 5.0, "running")).headline()
    assert "2/4 trials ended (1 complete, 1 stopped, 0 failed), 1 running" in line
    assert "best so far t0000 40.00 after 9/9 epochs" in line


def test_without_a_terminal_there_are_plain_lines():
    out = io.StringIO()
    with Display(progress(t0000=row(3, 41.234, "running")), Console(file=out, width=200)) as display:
        display.epoch("t0000")
    assert out.getvalue() == "t0000 epoch 3/9  val/miou 41.23\n"


def test_in_a_notebook_every_event_is_a_line_of_the_cell(monkeypatch):
    cell = []
    monkeypatch.setattr("rich.jupyter.display", lambda segments, text: cell.append(text))
    with Display(progress(t0000=row(3, 41.234, "running")), Console(force_jupyter=True, width=200)) as display:
        display.epoch("t0000")
    assert cell == ["t0000 epoch 3/9  val/miou 41.23\n"]


def test_on_a_terminal_there_is_a_table_with_every_trial():
    out = io.StringIO()
    shown = progress(t0000=row(9, 41.234), t0001=row(2, 3.0, "failed", error="loss strong1 is NaN"))
    Console(file=out, width=160, force_terminal=True).print(shown.table())
    text = out.getvalue()
    assert "t0000" in text
    assert "41.23" in text
    assert "loss strong1 is NaN" in text


def test_names_that_end_alike_are_written_whole():
    assert describe({"a.lr": 0.12345, "b.lr": 1, "c.tau": None}) == "a.lr=0.123 b.lr=1 tau=None"


def test_where_trials_pause_the_headline_counts_those_that_began_and_tells_no_time_to_go():
    table = ProgressTable(metric="val/miou", mode="max", total=5, max_epochs=9, finished_here=2)
    table.rows["t0000"] = TrialRow(values={}, state="complete", epoch=9)
    table.rows["t0001"] = TrialRow(values={}, state="stopped", epoch=1, paused=True)
    assert table.headline() == "2/5 trials begun (1 complete, 1 paused, 0 failed), 0 running"
