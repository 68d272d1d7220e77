import pytest

from trainers.common.errors import ConfigError
from trainers.common.home import expanded
from trainers.data.digits import DigitsConfig


def test_a_tilde_is_the_home_folder_and_stays_what_it_is_within_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/data") == tmp_path / "data"
    assert str(expanded("a/~b")) == "a/~b"


def test_a_home_folder_of_nobody_is_a_mistake_that_names_the_path():
    with pytest.raises(ConfigError, match=r"^~nobody-here/data: there is no home folder ~nobody-here; write the whole"):
        DigitsConfig(name="digits", crop=32, batch_size=2, root="~nobody-here/data").layout()
