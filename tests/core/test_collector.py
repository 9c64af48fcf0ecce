"""When Python looks for garbage: not while a command starts, and at nothing that was there then."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment

FOUND = "print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 10_000)"
USUAL = gc.get_threshold()[0]


def python(script):
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_in_a_process_of_somebody_else_s_nothing_is_kept_from_it():
    assert python(f"import gc, oarlock\noarlock.import_paddle()\n{FOUND}") == [f"True {USUAL} False"]
    assert python(f"import gc, oarlock\ngc.disable()\noarlock.import_paddle()\n{FOUND}") == [f"False {USUAL} False"]


def test_a_command_holds_it_until_paddle_is_there():
    script = f"""
import gc
import oarlock.cli as cli
def main():
    {FOUND}
    from oarlock import import_paddle
    import_paddle()
    {FOUND}
    return 0
cli.main = main
cli.run()
"""
    assert python(script) == ["True 100000 False", f"True {USUAL} True"]


def test_a_sweep_holds_it_until_it_runs(tmp_path):
    script = f"""
import gc, sys
import oarlock.cli as cli, oarlock.sweep as sweep
{FOUND}
made = sweep.Prepared.__init__
def prepare(self, *given):
    {FOUND}
    made(self, *given)
    self.sweeper.sweep = lambda arguments: ({FOUND}, 0)[1]
sweep.Prepared.__init__ = prepare
sys.argv = ["oarlock", "train", "-m", "seed=0,1", "hydra.sweep.dir={tmp_path}/sweep"]
cli.run()
"""
    assert python(script) == [f"True {USUAL} False", "True 100000 False", f"True {USUAL} True"]


COMMAND = """
import gc
from oarlock import hookimpl

@hookimpl
def register_commands(register):
    register("collects", help="Say whether garbage is collected.", configure=lambda parser: None,
             run=lambda args: print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 10_000))
"""


def test_a_command_of_a_plugin_may_go_on_for_months(oarlock_command):
    assert oarlock_command("collects") == f"True {USUAL} True\n"


@pytest.fixture
def oarlock_command(plugin):
    env = plugin(COMMAND, "collects")

    def run(*words):
        console = str(Path(sys.executable).with_name("oarlock"))
        done = subprocess.run([console, *words], env=environment(env), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
