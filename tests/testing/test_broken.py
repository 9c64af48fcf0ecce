"""The conformance kit notices each of these broken components, and says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from oarlock.testing import Nonconforming, Subject, checks_for, conformance

SOURCES = Path(__file__).parent / "broken"

# component: (the check that must notice it, what it must say)
BROKEN = {
    "callback/mistyped": ("trains", "no such hook. Did you mean 'on_evaluation_end'"),
    "callback/unmarked": ("trains", "not marked: add @hookimpl"),
    "callback/undecorated": ("trains", "decorate it with @oarlock.component"),
    "callback/unserialisable": ("trains", r"fields that cannot be configured: \w+: "),
    "callback/oneway": ("trains", "no load_state_dict"),
    "callback/wrongargument": ("trains", "gives no 'trainer'"),
    "callback/mutable": ("trains", "mutable default <class 'list'> for field names is not allowed"),
    "callback/future": ("trains", "written for version 99 of oarlock's plugin API; .* Upgrade oarlock"),
    "callback/early": ("registers_without_paddle", "Import it inside the hooks"),
    "callback/undocumented": ("documents_its_options", "does not explain unknown. Add an entry under 'Args:'"),
    "callback/wordless": ("documents_its_options", "has no docstring"),
    "callback/refusesitself": ("takes_its_options_from_the_command_line", "refuses its own defaults: .*rate=2.0"),
    "callback/leaks": ("builds_without_side_effects", "changes os.environ"),
    "callback/doubles": ("builds_without_side_effects", "changes Paddle's default dtype"),
    "optimizer/freezes": ("trains", "change no weight"),
    "callback/owndice": ("is_deterministic", "Draw random numbers from Paddle"),
    "callback/remembers": ("is_deterministic", "keep nothing between runs"),
    "regularizer/knowsitsprocess": ("survives_a_new_process", "What it depends on must be in its fields"),
    "callback/forgets": ("resumes_exactly", r"must be in state_dict\(\)"),
    "callback/oddstate": ("keeps_its_state", "state_dict.. has a object; it can have numbers, strings and tensors"),
    "callback/losesstate": ("keeps_its_state", "does not bring back all that"),
    "optimizer/needsanumber": ("works_beside_the_built_ins", "beside schedule=.*raise oarlock.UserError and say why"),
    "regularizer/branches": ("traces", r"cannot be compiled: it does not become a program: .*say `traceable = False`"),
    "regularizer/counts": (
        "traces",
        r"cannot be compiled: a step changes regularizer.counts.\w+, which a program would freeze",
    ),
    "optimizer/ascends": ("lowers_a_convex_loss", "Check the sign of the update"),
    "optimizer/partial": ("lowers_a_convex_loss", "leaves 1 of 2 parameters as they were"),
    "optimizer/ownrate": ("follows_the_schedule", r"Give schedule\(self.learning_rate\)"),
    "model/flat": ("gives_the_declared_shape", r"gives \[1, 10, 1\] for 1 rows .* asks for \[1, 10\]"),
    "regularizer/detached": ("has_the_right_gradient", "without detach"),
    "regularizer/halves": ("has_the_right_gradient", "its bound does not hold"),
    "callback/meddles": ("leaves_the_numbers_alone", "changes_run = True"),
    "data/drifts": ("gives_the_same_rows_again", "such as a field split_seed"),
    "data/holes": ("gives_rows_as_declared", "not finite"),
    "task/sums": ("has_a_mean_loss", "Average over the rows, do not sum"),
    "task/means": ("has_sound_metrics", "depends on how rows are split into batches"),
    "schedule/negative": ("gives_sound_rates", "negative"),
    "schedule/stubborn": ("gives_sound_rates", "Scale learning_rate"),
    "schedule/endless": ("gives_sound_rates", "Raise oarlock.UserError and ask for trainer.max_steps"),
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The broken packages, found by this process and those that it starts."""
    site = tmp_path / "site"
    shutil.copytree(SOURCES, site)
    for module in SOURCES.glob("*.py"):
        info = site / f"oarlock_{module.stem}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: oarlock-{module.stem}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[oarlock]\n{module.stem} = {module.stem}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("BROKEN_BUILDS", "0")


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 20
    assert {check for check, _ in BROKEN.values()} >= {name for group in ("optimizer", "model", "regularizer", "callback",
            "data", "task", "schedule") for name in checks_for(f"{group}/x")}  # fmt: skip


@pytest.mark.parametrize("path", BROKEN)
def test_it_is_noticed_and_the_message_says_what_to_do(installed, tmp_path, path):
    import paddle

    check, message = BROKEN[path]
    try:
        with pytest.raises(Nonconforming, match=message):
            checks_for(path)[check](Subject(path, (), tmp_path / "runs"))
    finally:
        paddle.set_default_dtype("float32")


def test_a_check_that_is_mistyped_cannot_be_skipped():
    with pytest.raises(ValueError, match=r"skip=trace: there is no such check\. Did you mean 'traces'"):
        conformance("optimizer/adam", skip=["trace"])
