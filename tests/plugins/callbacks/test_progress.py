"""What a person sees while a run trains, and what a file or pipe gets."""

import json
import os
import pty
import re
import subprocess

import pytest

from tests.conftest import command, environment
from tests.plugins.reference import LINEAR


def test_one_plain_line_an_evaluation(train, capsys):
    run = train("trainer.epochs=3", "trainer.evaluate_every=1 epoch", callbacks="progress")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(run.rows) == 3
    for number, (line, row) in enumerate(zip(lines, run.rows, strict=True), 1):
        shown = re.fullmatch(
            r"epoch +(\d+)  +\d+\.\ds  train/loss ([\d.]+)  valid/loss ([\d.]+)  valid/accuracy ([\d.]+)", line
        )
        assert shown, line
        assert int(shown[1]) == number
        for text, name in zip(shown.groups()[1:], ("train/loss", "valid/loss", "valid/accuracy"), strict=True):
            assert text == f"{row[name]:.4f}"


def test_evaluations_within_an_epoch_have_a_line_each(train, capsys):
    train(*LINEAR, "trainer.batch_size=3", "trainer.epochs=2", "trainer.evaluate_every=2 steps", callbacks="progress")
    assert re.findall(r"epoch +(\d+)", capsys.readouterr().out) == ["1", "1", "2", "2"]


def test_a_full_disk_behind_the_output_fails_no_run(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("train", "trainer.epochs=2", "hydra.run.dir=run"), cwd=tmp_path, stdout=full,
                              stderr=subprocess.PIPE, env=environment(), text=True, timeout=120)  # fmt: skip
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "completed"
    # What a person was to read is lost, and that is said.
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def on_a_terminal(*arguments, cwd):
    """What a command writes to a terminal of 100 columns."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        command(*arguments), cwd=cwd, stdin=follower, stdout=follower, stderr=follower,
        env=environment({"TERM": "xterm-256color", "COLUMNS": "100"}),
    )  # fmt: skip
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux's way of saying that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(leader)
    assert child.wait() == 0, written.decode()
    return written.decode()


@pytest.mark.slow
def test_a_terminal_has_a_bar_and_its_cursor_back(tmp_path):
    trained = on_a_terminal("train", "trainer.epochs=2", "hydra.run.dir=run", cwd=tmp_path)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", trained)
    assert re.search(r"epoch 1 [━╸╺ ]+ \d+/33", plain)
    assert re.search(r"epoch +1 +\d+\.\ds  train/loss [\d.]+  valid/loss [\d.]+  valid/accuracy [\d.]+", plain)
    assert re.search(r"epoch +2 +\d+\.\ds  train/loss", plain)
    assert trained.count("\x1b[?25l") == trained.count("\x1b[?25h") == 1

    checked = on_a_terminal("check", cwd=tmp_path)
    assert "one step was made" in checked
    assert checked.count("\x1b[?25l") == checked.count("\x1b[?25h")
