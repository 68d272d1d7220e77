"""A file is written whole or not at all, by the two packages that know nothing of each other."""

import pytest

from analysis.compute import atomic as analysis_atomic
from trainers.common import atomic as trainers_atomic

BOTH = pytest.mark.parametrize("replacing", [analysis_atomic.replacing, trainers_atomic.replacing])


@BOTH
def test_after_an_error_the_file_is_as_it_was_and_nothing_lies_beside_it(tmp_path, replacing):
    path = tmp_path / "page.html"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@BOTH
def test_until_its_end_the_file_is_as_it_was(tmp_path, replacing):
    path = tmp_path / "page.html"
    path.write_text("before")
    with replacing(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
