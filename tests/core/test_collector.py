"""When Python looks for garbage: not while a command starts, and at nothing that was there then."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import environment

FOUND = "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"


def python(script):
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_in_a_process_of_somebody_else_s_nothing_is_kept_from_it():
    assert python(f"import gc, oarlock\noarlock.import_paddle()\n{FOUND}") == ["True False"]
    assert python(f"import gc, oarlock\ngc.disable()\noarlock.import_paddle()\n{FOUND}") == ["False False"]


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
    assert python(script) == ["False False", "True True"]


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
    assert python(script) == ["True False", "False False", "True True"]
