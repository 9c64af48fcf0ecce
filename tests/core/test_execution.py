"""A run's train.log: what the loop writes by itself and what is logged look the same, and stand in one order."""

from __future__ import annotations

import logging
import re

import oarlock
from oarlock import hookimpl

WORDS = ["optimizer=momentum", "model.widths=[8]", "trainer.epochs=3", "callback=[]"]
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) (oarlock\S*): (.*)")


class Logs:
    """Logs a line behind each evaluation."""

    @hookimpl
    def on_evaluation_end(self, run):
        logging.getLogger("oarlock.mine").warning("after step %d", run.step)


def test_lines_of_the_loop_are_as_those_that_are_logged(tmp_path):
    oarlock.train([*WORDS, f"hydra.run.dir={tmp_path}/run"], hooks=[Logs()])
    lines = [LINE.fullmatch(line).groups() for line in (tmp_path / "run" / "train.log").read_text().splitlines()]
    assert [(level, name) for level, name, _ in lines] == [("INFO", "oarlock"), ("WARNING", "oarlock.mine")] * 3
    assert [text for _, _, text in lines[1::2]] == ["after step 33", "after step 66", "after step 99"]
    shown = r"epoch \d step \d+ train/loss=[\d.]+ valid/loss=[\d.]+ valid/accuracy=[\d.]+"
    assert all(re.fullmatch(shown, text) for _, _, text in lines[::2])


def test_what_the_logger_does_not_let_through_is_not_written(tmp_path):
    logging.disable(logging.INFO)
    try:
        oarlock.train([*WORDS, f"hydra.run.dir={tmp_path}/run"], hooks=[Logs()])
    finally:
        logging.disable(logging.NOTSET)
    lines = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert [LINE.fullmatch(line).group(1) for line in lines] == ["WARNING"] * 3


def test_who_listens_to_the_logger_is_told_of_evaluations_too(tmp_path):
    class Keeps(logging.Handler):
        def emit(self, record):
            kept.append(record.getMessage())

    kept, listener = [], Keeps()
    logging.getLogger("oarlock").addHandler(listener)
    try:
        oarlock.train([*WORDS, f"hydra.run.dir={tmp_path}/run"])
    finally:
        logging.getLogger("oarlock").removeHandler(listener)
    assert [text[:15] for text in kept] == ["epoch 1 step 33", "epoch 2 step 66", "epoch 3 step 99"]
    assert (tmp_path / "run" / "train.log").read_text().count("INFO oarlock: epoch") == 3
