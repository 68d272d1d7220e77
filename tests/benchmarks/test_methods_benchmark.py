import pytest

from benchmarks.methods import CAUSES, config_of
from trainers.config import TrainConfig
from trainers.yamlfile import set_dotted


@pytest.mark.parametrize(("name", "seed", "changes"), CAUSES)
def test_a_cause_is_a_valid_training_that_differs_from_the_study_in_what_it_names(name, seed, changes):
    plain = config_of(name, 0.0).model_dump(mode="json")
    data = config_of(name, 0.0).model_dump(mode="json")
    for key, value in {"seed": seed, **changes}.items():
        set_dotted(data, key, value)
    config = TrainConfig.model_validate(data).model_dump(mode="json")
    apart = {
        (section, key)
        for section in config
        if isinstance(config[section], dict)
        for key in config[section]
        if config[section][key] != plain[section][key]
    }
    assert apart == {tuple(key.split(".")) for key in changes}
