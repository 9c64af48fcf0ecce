"""What a worker hears between two trials."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import environment

# In a process of its own: a line takes the signals of its process.
STOPPED = """
import json, sys, time
from multiprocessing import Pipe
from oarlock_plugins.sweeps.worker import Line

driver, worker = Pipe()
line = Line(worker)
driver.send_bytes(json.dumps({"do": "train"}).encode())
driver.send_bytes(json.dumps({"do": "stop"}).encode())
assert line.next() == {"do": "train"}
time.sleep(0.5)  # as where the log is on a slow disk
with line.training(False):
    heard = [line.stopping]
with line.training(False):
    heard.append(line.stopping)
print(json.dumps(heard))
"""


def test_a_stop_that_comes_right_behind_a_trial_is_for_that_trial_alone():
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, False]
