"""A value without quotes is put together again, as the shell itself took it apart."""

import shlex
import subprocess

import pytest

from ipix_tune.cli.shell_words import refuse_a_value_in_pieces
from trainers.common.errors import UserError
from trainers.common.yaml_file import parse_value

SPACE = "search.optim.lr={loguniform: [1e-4, 1e-2]}"


def words_in(line):
    """What bash makes of a command line."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("written", [SPACE, SPACE.replace(" ", "")])
def test_the_message_has_the_value_whole_and_in_quotes(written):
    with pytest.raises(UserError) as caught:
        refuse_a_value_in_pieces(words_in(f"sweep study.yaml --set {written} --dry-run"))
    *_, whole = shlex.split(str(caught.value))
    assert parse_value(whole.partition("=")[2], source="") == {"loguniform": [1e-4, 1e-2]}


def test_a_value_of_several_keys_is_given_back_with_all_of_them():
    for written, value in (("x={a:[1,2],b:3}", {"a": [1, 2], "b": 3}), ("x={a:1,b:2}", {"a": 1, "b": 2})):
        with pytest.raises(UserError) as caught:
            refuse_a_value_in_pieces(words_in(f"sweep study.yaml --set {written} --dry-run"))
        *_, whole = shlex.split(str(caught.value))
        assert parse_value(whole.partition("=")[2], source="") == value


def test_a_value_whose_inner_braces_bash_has_used_up_is_asked_for_in_quotes_and_not_made_up():
    with pytest.raises(UserError, match="put it as you typed it in single quotes"):
        refuse_a_value_in_pieces(words_in("sweep study.yaml --set x={a:{c:1,d:2},e:3}"))


@pytest.mark.parametrize("written", [f"'{SPACE}'", "budget.trials=3", "optim.betas=[1,2] 'x}'", "seed=[1"])
def test_a_value_in_one_piece_is_left_to_the_command(written):
    refuse_a_value_in_pieces(words_in(f"sweep study.yaml --set {written} --dry-run"))
