"""What is found out about a file is kept, and a failure to find out is not."""

from trainers.data.facts import facts_of


def test_a_file_of_which_nothing_was_found_is_asked_again_and_the_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [tmp_path / name for name in ("readable", "away")]
    for path in files:
        path.write_text(path.name)
    asked = []

    def find(path):
        asked.append(path.name)
        return b"" if path.name == "away" else b"fact"

    for _ in range(2):
        assert facts_of(files, find, kind="test") == {files[0]: b"fact", files[1]: b""}
    assert sorted(asked) == ["away", "away", "readable"]
