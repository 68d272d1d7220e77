"""What several tests of the study share."""

import pytest


@pytest.fixture(scope="session")
def _estimates():
    return {}


@pytest.fixture
def estimated_once(monkeypatch, _estimates):
    """The memory of a trial is estimated by a process of its own, which imports PyTorch. What was asked before gets the
    same answer without one."""
    from trainers.loop import memory_estimate

    real = memory_estimate.step_memory

    def remembered(asked):
        for one in asked:
            if repr(one) not in _estimates:
                [_estimates[repr(one)]] = real([one])
        return [_estimates[repr(one)] for one in asked]

    monkeypatch.setattr(memory_estimate, "step_memory", remembered)
