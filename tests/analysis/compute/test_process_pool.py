"""Processes of a report, asked for by whatever script."""

import subprocess
import sys

SCRIPT = """
import os
from analysis.compute import process_pool

process_pool.LOADED.clear()
os.sched_getaffinity = lambda process: {0, 1}
print("asked")
with process_pool.workers() as pool:
    found = pool.submit(divmod, 7, 2).result(), pool.submit(os.getpid).result() != os.getpid()
print(found, __file__ is not None)
"""


def test_a_script_without_a_main_guard_gets_its_work_done_and_runs_once(tmp_path):
    script = tmp_path / "no_guard.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["asked", "((3, 1), True) True"]
