"""What all tests share: a cache of their own, so that the data set is made once, and no network for W&B."""

import pytest
from hypothesis import settings

settings.register_profile("no timing", deadline=None)
settings.load_profile("no timing")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps what is made in the user's cache folder within the test session."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    patch.delenv("WANDB_MODE", raising=False)
    yield
    patch.undo()
