"""The study of `toy_trainer.py`, and what is left of its processes."""

import sys
import time
from pathlib import Path

import psutil

TOY = str(Path(__file__).with_name("toy_trainer.py"))


def section(**more):
    return {
        "command": [sys.executable, TOY, "--epochs", "{epochs}", "--lr", "{optim.lr}", "--out", "{run_dir}"],
        "config": {"optim": {"lr": 0.1}},
        "epochs": 3,
        "metrics": {"jsonl": "{run_dir}/metrics.jsonl"},
        "score": "val/dice",
        "seed": "--seed {seed}",
        "resume": "--resume {run_dir}",
        "stop_s": 2,
        **more,
    }


def study(trainer=None, **more):
    return {
        "name": "toy",
        "trainer": trainer or section(),
        "search": {"optim.lr": {"uniform": [0, 1]}},
        "budget": {"trials": 4},
    } | more


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()
