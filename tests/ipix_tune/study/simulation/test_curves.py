import math
import random

import pyarrow as pa
import pytest

from analysis.errors import LogsError
from analysis.ingest import tables
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.simulation.curve import CurvesError
from ipix_tune.study.simulation.curves import curves_of
from ipix_tune.study.simulation.simulator import Simulation
from tests.ipix_tune.studies import base, config_of, row

EPOCHS = 9


def study(**changes):
    return StudyConfig.model_validate({**base(), "points": [], **changes})


def config_with(*, alpha, distance, lr, teacher="shared", decay=None):
    method = {"name": "unimatch", "teacher": teacher} | ({} if decay is None else {"ema_decay": decay})
    return config_of(interpixel={"alpha": alpha, "distance": distance}, method=method, optim={"lr": lr})


def saved(folder, configs, *, epochs=EPOCHS, seconds=10.0, states=None, facts=None):
    """Tables of runs whose score after epoch e is 10 * number + e / 10."""
    rows, history = [], []
    for number, config in enumerate(configs):
        state = "complete" if states is None else states[number]
        rows.append(row(number, 10.0 * number, epochs=epochs, config=config, state=state) | {"runtime_s": 90.0})
        for epoch in range(1, epochs + 1):
            at = None if seconds is None else 1000 + seconds * epoch
            score = 10 * number + epoch / 10
            history.append({"run_id": rows[-1]["run_id"], "epoch": epoch, "time": at, "val/miou": score})
    made = tables.Tables(runs=pa.Table.from_pylist(rows), history=pa.Table.from_pylist(history), facts=facts or {})
    tables.save(made, folder)
    return str(folder)


CONFIGS = [
    config_with(alpha=0.01, distance="kl", lr=1e-3),
    config_with(alpha=0.1, distance="kl", lr=1e-3),
    config_with(alpha=0.1, distance="cr", lr=1e-1),
    config_with(alpha=0.1, distance="kl", lr=1e-3, teacher="ema", decay=0.996),
]


def answered(curves, **values):
    return curves.curve({"interpixel.distance": "kl", "method.teacher": "shared", **values}).scores[0] // 10


def test_a_recorded_configuration_is_answered_by_its_own_curve(tmp_path):
    curves = curves_of(saved(tmp_path, CONFIGS), study(), epochs=EPOCHS, seed=0)
    found = curves.curve(
        {"interpixel.alpha": 0.1, "interpixel.distance": "cr", "method.teacher": "shared", "optim.lr": 0.1}
    )
    assert found.scores == pytest.approx([20 + epoch / 10 for epoch in range(1, 10)])


def test_the_nearest_is_nearest_on_the_dimensions_own_scales(tmp_path):
    curves = curves_of(saved(tmp_path, CONFIGS), study(), epochs=EPOCHS, seed=0)
    assert answered(curves, **{"interpixel.alpha": 0.03, "optim.lr": 1e-3}) == 0
    assert answered(curves, **{"interpixel.alpha": 0.033, "optim.lr": 1e-3}) == 1


def test_configurations_that_several_seeds_answer_get_each_of_them_in_turn_by_chance_and_always_the_same(tmp_path):
    curves = curves_of(saved(tmp_path, [CONFIGS[0]] * 3), study(), epochs=EPOCHS, seed=0)
    near = [{"interpixel.alpha": 0.02 + step / 1e5, "optim.lr": 1e-3} for step in range(50)]
    got = [answered(curves, **values) for values in near]
    assert set(got) == {0, 1, 2}
    assert got == [answered(curves, **values) for values in near]


def test_the_distance_is_that_of_a_loop_written_out(tmp_path):
    configs = [
        config_with(alpha=10**a, distance=d, lr=10**b, teacher=t, decay=c)
        for a, b, d, t, c in [
            (-1.7, -3.1, "kl", "ema", 0.99),
            (0.3, -1.2, "cr", "shared", None),
            (-0.2, -2.0, "cr", "ema", 0.996),
            (0.9, -3.9, "kl", "shared", None),
        ]
    ]
    config = study()
    curves = curves_of(saved(tmp_path, configs), config, epochs=EPOCHS, seed=0)
    rng = random.Random(1)
    for _ in range(100):
        values = SearchSpace(config).sample(rng)
        distances = []
        for one in configs:
            ema = one.method.teacher == "ema"
            asks_ema = values["method.teacher"] == "ema"
            distances.append(
                abs(math.log10(one.interpixel.alpha / values["interpixel.alpha"])) / 3
                + abs(math.log10(one.optim.lr / values["optim.lr"])) / 3
                + (one.interpixel.distance != values["interpixel.distance"])
                + (ema != asks_ema)
                + (ema != asks_ema or (ema and one.method.ema_decay != values["method.ema_decay"]))
            )
        assert curves.nearest(values) == [distances.index(min(distances))]


@pytest.mark.parametrize(("seconds", "expected"), [(12.5, 12.5), (None, 10.0)])
def test_the_seconds_of_an_epoch_are_the_recorded_ones(tmp_path, seconds, expected):
    curves = curves_of(saved(tmp_path, CONFIGS, seconds=seconds), study(), epochs=EPOCHS, seed=0)
    assert curves.curve({"interpixel.alpha": 0.1}).seconds == pytest.approx(expected)


def test_trials_that_were_stopped_answer_nothing(tmp_path):
    states = ["complete", "stopped", "complete", "failed"]
    curves = curves_of(saved(tmp_path, CONFIGS, states=states), study(), epochs=EPOCHS, seed=0)
    assert answered(curves, **{"interpixel.alpha": 0.1, "optim.lr": 1e-3}) == 0


def test_the_recorded_study_may_have_searched_other_keys(tmp_path):
    config = study(search={"interpixel.alpha": {"loguniform": [0.01, 10]}})
    curves = curves_of(saved(tmp_path, CONFIGS), config, epochs=EPOCHS, seed=0)
    assert curves.curve({"interpixel.alpha": 0.012}).scores[0] == pytest.approx(0.1)


def test_a_study_runs_on_the_curves_of_another(tmp_path):
    config = study()
    curves = curves_of(saved(tmp_path, CONFIGS), config, epochs=EPOCHS, seed=0)
    outcome = Simulation(config, curves, max_epochs=EPOCHS, concurrent=2).run()
    assert len(outcome.entries) == 12
    assert outcome.trajectory[-1].score in [pytest.approx(10 * number + 0.9) for number in range(4)]


def test_curves_of_another_length_are_refused_with_both_lengths(tmp_path):
    with pytest.raises(CurvesError, match=r"have 5 epochs.*schedule\.epochs = 9"):
        curves_of(saved(tmp_path, CONFIGS, epochs=5), study(), epochs=EPOCHS, seed=0)


def test_tables_without_a_whole_curve_are_refused(tmp_path):
    with pytest.raises(CurvesError, match=r"no trial ran all its epochs"):
        curves_of(saved(tmp_path, CONFIGS, states=["stopped"] * 4), study(), epochs=EPOCHS, seed=0)


def test_a_metric_that_was_not_recorded_is_refused_by_name(tmp_path):
    config = study(objective={"metric": "val/miu"})
    with pytest.raises(CurvesError, match=r'val/miu .*did you mean "val/miou"'):
        curves_of(saved(tmp_path, CONFIGS), config, epochs=EPOCHS, seed=0)


def test_a_folder_without_tables_says_how_to_make_them(tmp_path):
    with pytest.raises(LogsError, match="no tables"):
        curves_of(str(tmp_path), study(), epochs=EPOCHS, seed=0)
