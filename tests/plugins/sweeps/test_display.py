"""What a sweep shows on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from rich.console import Console
from tests.conftest import command
from tests.plugins.sweeps.conftest import JOB

from oarlock_plugins.sweeps.display import Table
from oarlock_plugins.sweeps.pool import Pool


def on_a_terminal(sweeps, *arguments):
    """The exit code, and what stood on the terminal and in standard error."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command(*arguments), cwd=sweeps.folder, env={**sweeps.environment, "TERM": "xterm"},
                               stdin=its, stdout=its, stderr=subprocess.PIPE)  # fmt: skip
    os.close(its)
    shown = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        shown += part
        if not part:
            break
    os.close(ours)
    _, said = process.communicate(timeout=60)
    return process.returncode, shown.decode(), said.decode()


@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_a_sweep_runs_to_its_end(sweeps, launcher):
    code, shown, said = on_a_terminal(
        sweeps, "train", "-m", *JOB, "seed=0,1", f"hydra/launcher={launcher}", "hydra.sweep.dir=s"
    )
    assert code == 0, said
    assert "sweep: s, 2 finished, 0 failed" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_a_terminal_is_left_as_it_was_where_a_sweep_is_refused(sweeps):
    job = ["-m", JOB[0], JOB[2], "callback=[trouble]", "callback.trouble.how=hang", "seed=0,1"]
    first = sweeps.start("train", "-p", "trouble", *job, "hydra.sweep.dir=s")
    sweeps.wait_for(lambda: (sweeps.folder / "s" / "ledger.jsonl").exists())
    sweeps.wait_for(lambda: any(event["event"] == "attempt" for event in sweeps.events()))
    code, shown, said = on_a_terminal(sweeps, "resume", "-p", "trouble", "s")
    first.kill()
    first.communicate()
    assert code == 2
    assert "another process is working on this sweep" in said
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")


def test_values_are_shown_as_they_are_typed():
    trial = SimpleNamespace(values={"callback": "[progress,ema]", "data.paths": "[/a/b.csv]"}, extra=[], metrics={})
    trials = SimpleNamespace(ledger=SimpleNamespace(trials={3: trial}, objectives=[], counts=Counter(running=1)), total=4,
                             best=lambda: None, started=time.monotonic())  # fmt: skip
    worker = SimpleNamespace(told={}, since=time.monotonic())
    table = Table()
    shown = io.StringIO()
    try:
        rendered = table._render(SimpleNamespace(trials=trials, running={3: worker}))
    finally:
        table.close()
    Console(file=shown, width=160).print(rendered)
    assert "callback=[progress,ema] data.paths=[/a/b.csv]" in shown.getvalue()


def test_what_is_said_to_a_worker_that_was_lost_meanwhile_is_no_error():
    Pool(1).tell(7, {"do": "verdict", "prune": True, "reason": "behind"})
