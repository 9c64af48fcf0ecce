"""The ledger of a sweep: what is written is found again, and damage costs no more than what is damaged."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock import UserError
from oarlock_plugins.sweeps.ledger import LEDGER, Ledger, Replay, Trial, seal, unseal

TRICKY = ['"', "\\", "a\nb\r\nc", '","sum":"00000000"}\n', '{"event":"end"', "ü€😀", "\u2028", "\x00", ""]


def trial_event(number, **changed):
    values = {"number": number, "point": number, "values": {"a": "1"}, "params": {"a": 1}, "extra": [],
              "overrides": ["a=1"], "folder": str(number)}  # fmt: skip
    return "trial", values | changed


def end_event(number, **changed):
    values = {"number": number, "status": "completed", "error": "", "seconds": 1.5, "metrics": {"valid/loss": 0.5},
              "objective": [0.5], "epochs": 2}  # fmt: skip
    return "end", values | changed


# A small sweep as it happens: two trials, one that fails and is begun again, one that is stopped.
STORY = [
    ("sweep", {"format": 1, "space": {"a": "1,2"}, "sampler": "grid"}),
    trial_event(0),
    ("attempt", {"number": 0, "attempt": 1, "time": 1.25}),
    ("objectives", {"objectives": [["valid/loss", "min"]]}),
    ("report", {"number": 0, "evaluation": 1, "value": 0.75}),
    trial_event(1, values={"a": TRICKY[3]}, overrides=[TRICKY[2], TRICKY[5]]),
    ("attempt", {"number": 1, "attempt": 1, "time": 2.0}),
    end_event(0),
    end_event(1, status="failed", error=TRICKY[4] + TRICKY[2], metrics={}, objective=None, epochs=0),
    ("again", {"number": 1, "attempts": 1, "error": "x"}),
    ("attempt", {"number": 1, "attempt": 2, "time": 3.0}),
    ("report", {"number": 1, "evaluation": 1, "value": 0.25}),
    ("again", {"number": 1, "attempts": 1}),
]


def write(folder, events):
    ledger = Ledger(folder)
    for event, values in events:
        ledger.write(event, **values)
    ledger.close()
    return (folder / LEDGER).read_bytes()


def state(ledger):
    return ledger.sweep, ledger.objectives, ledger.trials


def replayed(folder, events):
    """The state after these events, from a ledger of their own."""
    folder.mkdir()
    write(folder, events)
    return state(Replay(folder))


def model(events):
    """The same by hand: each trial from the events of its own, the last of each kind counting."""
    trials = {}
    for event, values in events:
        number = values.get("number")
        own = trials.get(number)
        if event == "trial":
            trials[number] = Trial(**values)
        elif own is None:
            continue
        elif event == "attempt":
            own.status, own.attempts, own.error = "running", values["attempt"], ""
        elif event == "again":
            own.status, own.attempts = "waiting", values["attempts"]
        elif event == "report":
            own.reports = own.reports | {values["evaluation"]: values["value"]}
        elif event == "end":
            for name in ("status", "error", "seconds", "metrics", "objective", "epochs"):
                setattr(own, name, values[name])
    sweeps = [values for event, values in events if event == "sweep"]
    objectives = [values["objectives"] for event, values in events if event == "objectives"]
    return (sweeps or [{}])[-1], (objectives or [[]])[-1], trials


NUMBERS = st.integers(0, 3)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.one_of(st.sampled_from(TRICKY), st.text(st.characters(codec="utf-8"), max_size=6))
EVENTS = st.one_of(
    st.builds(lambda number, word, value: trial_event(number, values={word: word}, params={word: value}, extra=[word]),
              NUMBERS, WORDS, st.one_of(FLOATS, st.integers(), WORDS)),
    st.builds(lambda number, attempt: ("attempt", {"number": number, "attempt": attempt, "time": None}),
              NUMBERS, st.integers(1, 9)),
    st.builds(lambda number, evaluation, value: ("report", {"number": number, "evaluation": evaluation, "value": value}),
              NUMBERS, st.integers(1, 4), FLOATS),
    st.builds(lambda number, attempts, error: ("again", {"number": number, "attempts": attempts, "error": error}),
              NUMBERS, st.integers(0, 9), WORDS),
    st.builds(lambda number, status, error, name, value: end_event(number, status=status, error=error,
                                                                   metrics={name: value}, objective=[value]),
              NUMBERS, st.sampled_from(["completed", "early_stopped", "pruned", "failed"]), WORDS, WORDS, FLOATS),
    st.builds(lambda word: ("sweep", {"format": 1, "space": {word: word}}), WORDS),
    st.builds(lambda word: ("objectives", {"objectives": [[word, "max"]]}), WORDS),
)  # fmt: skip


@settings(max_examples=100, deadline=None, derandomize=True)
@given(events=st.lists(EVENTS, max_size=25), again=st.integers(0, 25))
def test_a_ledger_is_what_its_events_say(tmp_path_factory, events, again):
    folder = tmp_path_factory.mktemp("ledger")
    write(folder, events[:again])
    ledger = Ledger(folder)  # opened a second time somewhere in between
    for event, values in events[again:]:
        ledger.write(event, **values)
    assert state(ledger) == state(Replay(folder)) == model(events)
    ledger.close()
    assert ledger.damaged == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(WORDS, st.recursive(st.one_of(WORDS, FLOATS, st.integers(), st.none(), st.booleans()),
                                           lambda inner: st.lists(inner, max_size=3), max_leaves=5)))  # fmt: skip
def test_a_record_is_one_line_of_json_and_comes_back(record):
    record = {"event": "any", **record}
    line = seal(record)
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {**record, "sum": json.loads(line)["sum"]}
    assert unseal(line) == record


def test_cut_at_any_byte_it_keeps_the_whole_lines_and_goes_on(tmp_path):
    whole = write(tmp_path, STORY)
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len(STORY)
    states = [model(STORY[:count]) for count in range(len(STORY) + 1)]
    added = end_event(0, seconds=9.0)
    for cut in range(len(whole) + 1):
        (tmp_path / LEDGER).write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")
        ledger = Ledger(tmp_path)
        assert state(ledger) == states[kept]
        assert ledger.damaged == (not whole[:cut].endswith(b"\n") and cut > 0)
        ledger.write(added[0], **added[1])
        ledger.close()
        assert (tmp_path / LEDGER).read_bytes() == b"".join(lines[:kept]) + seal({"event": "end", **added[1]})
        assert state(Replay(tmp_path)) == model([*STORY[:kept], added])


def test_a_flipped_bit_costs_its_own_line_only(tmp_path):
    whole = write(tmp_path, STORY)
    lines = whole.splitlines(keepends=True)
    owners = [number for number, line in enumerate(lines) for _ in line]
    without = [model([*STORY[:number], *STORY[number + 1 :]]) for number in range(len(STORY))]
    for position, owner in enumerate(owners):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        (tmp_path / LEDGER).write_bytes(flipped)
        ledger = Ledger(tmp_path)
        ledger.close()
        assert ledger.damaged > 0
        assert state(ledger) == without[owner], (position, bytes(flipped[position - 20 : position + 20]))
        tail = owner == len(lines) - 1
        assert (tmp_path / LEDGER).read_bytes() == (b"".join(lines[:owner]) if tail else flipped)


def test_events_of_a_trial_that_was_lost_are_passed_over(tmp_path):
    write(tmp_path, STORY[:4])
    ledger = Ledger(tmp_path)
    ledger.write("report", number=7, evaluation=1, value=1.0)
    ledger.close()
    assert state(ledger) == model(STORY[:4])


def test_what_is_not_finite_is_null_in_the_file_and_in_the_state(tmp_path):
    ledger = Ledger(tmp_path)
    for event, values in [
        trial_event(0, params={"a": math.inf}),
        ("report", {"number": 0, "evaluation": 1, "value": math.nan}),
        ("report", {"number": 0, "evaluation": 2, "value": 1.0}),
        end_event(0, metrics={"valid/loss": -math.inf, "valid/accuracy": 1.0}, objective=None),
    ]:
        ledger.write(event, **values)
    ledger.close()
    for line in (tmp_path / LEDGER).read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    assert state(ledger) == state(Replay(tmp_path))
    trial = ledger.trials[0]
    assert trial.params == {"a": None}
    assert trial.reports == {2: 1.0}
    assert trial.metrics == {"valid/loss": None, "valid/accuracy": 1.0}
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal({"value": math.nan})


HOLDER = (
    "import sys; from pathlib import Path; from oarlock_plugins.sweeps.ledger import Ledger; Ledger(Path(sys.argv[1]))"
)


def test_a_second_process_is_refused_until_the_first_has_let_go(tmp_path):
    def second():
        return subprocess.run([sys.executable, "-c", HOLDER, tmp_path], capture_output=True, text=True, check=False)

    ledger = Ledger(tmp_path)
    assert "UserError" in (refused := second()).stderr
    assert f"{tmp_path}: another process is working on this sweep." in refused.stderr
    Replay(tmp_path)  # a report in this process must not open the door
    assert second().returncode == 1
    ledger.close()
    assert second().returncode == 0, second().stderr


def test_a_second_ledger_in_this_process_is_refused_too(tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(UserError, match="another process"):
        Ledger(tmp_path)
    ledger.close()
    Ledger(tmp_path).close()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for kind, word in ((Ledger, "written"), (Replay, "read")):
        with pytest.raises(UserError, match=rf"nowhere.{LEDGER} cannot be {word}: No such file"):
            kind(tmp_path / "nowhere")
