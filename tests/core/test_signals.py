"""A second Ctrl-C does not wait for anything."""

from __future__ import annotations

import json
import signal
import subprocess
import time

from tests.conftest import command, environment

SLOW = '''
import pathlib, time
from oarlock import component, hookimpl

@component
class Slow:
    """Hangs in step 3."""

    @hookimpl
    def on_step_end(self, run):
        if run.step == 3:
            pathlib.Path("hanging").touch()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.05)

@hookimpl
def register_components(register):
    register("callback/slow", Slow)
'''


def test_a_second_interrupt_ends_at_once_and_the_run_can_be_resumed(tmp_path, plugin, oarlock):
    env = plugin(SLOW)
    job = ["train", "+callback=slow", "model.widths=[8]", "trainer.checkpoint.every_steps=1", "hydra.run.dir=run"]
    child = subprocess.Popen(
        command(*job), cwd=tmp_path, env=environment(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "hanging").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None, "the first one waits for the end of the step"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 75
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"
    again = oarlock("resume", "run", "trainer.max_steps=2", env=env)
    assert again.returncode == 0, again.stderr
    assert "from step 2" in again.stdout
