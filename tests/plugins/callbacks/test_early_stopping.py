"""Both forms of early stopping, on evaluations with given values."""

import pytest

import oarlock
from oarlock.cli import main

# One step an epoch, so that evaluations, epochs and steps have one number.
EPOCHS = ("data=toy", "model.widths=[]", "task=scripted", "trainer.batch_size=12", "trainer.evaluate_every=1 epoch")


@pytest.fixture
def stopped(train):
    """Train with the given values; returns the epoch after which it stopped, or None."""

    def run(values, *options, epochs=80):
        done = train(
            *EPOCHS, f"trainer.epochs={epochs}", f"task.values=[{','.join(map(str, values))}]",
            *(f"callback.early_stopping.{option}" for option in options), callbacks="early_stopping",
        )  # fmt: skip
        assert done.result.status == ("early_stopped" if done.record["reason"] else "completed")
        assert len(done.rows) == done.record["step"]
        return done.record["step"] if done.record["reason"] else None

    return run


def test_balance_rises_without_and_falls_with_an_improvement(stopped):
    """Ten improvements take the counter from 10 to 0, and 50 evaluations without one to 50."""
    assert stopped(range(1, 11), "form=balance") == 60


def test_balance_from_10_to_50(stopped):
    """The first evaluation improves (9), the next 41 do not."""
    assert stopped([0.5], "form=balance") == 42


def test_balance_counts_an_improvement_against_what_came_before(stopped):
    """9 after the first, 11 after two without, 10 after one with, 50 after 40 more."""
    assert stopped([0.5, 0.4, 0.5, 0.6, 0.1], "form=balance") == 44


def test_balance_with_other_bounds(stopped):
    assert stopped([0.5], "form=balance", "balance_start=0", "balance_limit=3") == 5


def test_consecutive_spends_the_patience(stopped):
    assert stopped([0.5], "patience=3") == 4


def test_consecutive_is_restored_in_full_by_a_new_best(stopped):
    assert stopped([0.5, 0.4, 0.4, 0.6, 0.5], "patience=3") == 7
    assert stopped([0.5, 0.4, 0.4, 0.5, 0.6], "patience=3") == 4


def test_consecutive_counts_from_epoch_10_on(stopped):
    """Of 5 evaluations without improvement, the first that counts is that of epoch 10."""
    assert stopped([0.9, 0.5], "min_epochs=10", "patience=5") == 14


def test_a_best_from_before_epoch_10_is_the_one_to_beat(stopped):
    values = [0.9] + [0.5] * 11 + [0.8]
    assert stopped(values, "min_epochs=10", "patience=5") == 14
    values[12] = 0.95
    assert stopped(values, "min_epochs=10", "patience=5") == 18


def test_an_evaluation_within_an_epoch_that_does_not_count_is_not_counted(train):
    """Three steps an epoch, an evaluation after each: those after steps 7, 8 and 9 are the first that count."""
    done = train(
        "data=toy", "model.widths=[]", "task=scripted", "trainer.batch_size=4", "trainer.evaluate_every=1 step",
        "trainer.epochs=9", "task.values=[0.9,0.5]", "callback.early_stopping.min_epochs=2",
        "callback.early_stopping.patience=3", callbacks="early_stopping",
    )  # fmt: skip
    assert done.record["step"] == 9


def test_balance_counts_from_min_epochs_on(stopped):
    assert stopped([0.5], "form=balance", "balance_limit=12", "min_epochs=10") == 11


def test_a_change_below_min_delta_is_no_improvement(stopped):
    values = [0.5, 0.55, 0.59, 0.59]
    assert stopped(values, "patience=3", "min_delta=0.1") == 4
    assert stopped([0.5, 0.55, 0.61, 0.7, 0.7], "patience=3", "min_delta=0.1") == 6


def test_a_metric_that_shall_fall(train):
    falling = [0.9, 0.8, 0.7]
    done = train(
        *EPOCHS, "task.direction=min", f"task.values={falling}", "callback.early_stopping.patience=2",
        callbacks="early_stopping",
    )  # fmt: skip
    assert done.record["step"] == 5
    assert done.record["reason"] == "valid/score has not improved for 2 evaluations"


def test_another_monitor_than_the_runs(train):
    """`valid/other` falls at every evaluation and shall fall, so the flat score stops nothing."""
    done = train(
        *EPOCHS, "trainer.epochs=6", "callback.early_stopping.patience=2",
        "callback.early_stopping.monitor=valid/other", callbacks="early_stopping",
    )  # fmt: skip
    assert done.result.status == "completed"
    assert done.record["step"] == 6


def test_nan_is_no_improvement_and_no_best(stopped):
    assert stopped(["nan", "nan", 0.5, "nan", 0.4], "patience=3") == 6
    assert stopped([0.5, "nan", 0.6, 0.7, "nan"], "patience=2") == 6


def test_without_a_reason_the_run_completes(stopped):
    assert stopped(range(1, 9), "patience=1", epochs=8) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("patience=3",), "valid/score has not improved for 3 evaluations"),
        (("form=balance", "balance_limit=12"), "the balance of valid/score reached 12"),
    ],
)
def test_its_state_survives_a_resume(train, options, reason):
    """Stopped from outside, one evaluation before its end, the run ends where the one left alone ends."""
    overrides = (*EPOCHS, "task.values=[0.5,0.4,0.6,0.5]", *(f"callback.early_stopping.{option}" for option in options))
    alone = train(*overrides, callbacks="early_stopping")
    assert alone.record["reason"] == reason
    assert alone.record["step"] == 6
    cut_short = train(*overrides, "trainer.max_steps=5", callbacks="early_stopping")
    assert cut_short.record["reason"] == ""
    assert main(["resume", str(cut_short.result.folder), "trainer.max_steps=50"]) == 0
    again = type(cut_short).of(cut_short.result)
    assert (again.record["reason"], again.record["step"]) == (reason, 6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("patience=0", r"patience=0: expected at least 1"),
        ("min_delta=-1", r"min_delta=-1\.0: expected 0 <= min_delta"),
        ("min_epochs=-1", r"min_epochs=-1: expected 0 <= min_epochs"),
        ("balance_limit=10", r"balance_limit=10: expected more than balance_start"),
        ("monitor=valid/scor", r"callback.early_stopping.monitor=valid/scor: .* Did you mean 'valid/score'\?"),
        ("form=consecutiv", r"form.*consecutive"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(train, tmp_path, option, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(*EPOCHS, f"callback.early_stopping.{option}", callbacks="early_stopping")
    assert not list(tmp_path.glob("*/checkpoints"))
