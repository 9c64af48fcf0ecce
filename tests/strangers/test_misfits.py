"""Components that return nothing, wrap what cannot be wrapped, or would be left out without a word."""

from __future__ import annotations

import pytest

MISFITS = '''
from oarlock import component, hookimpl

@component
class Forgets:
    """A schedule without a return."""
    @hookimpl
    def build_schedule(self, learning_rate):
        learning_rate * 2

@component
class Silent:
    """A task whose forward leaves the work to the default."""
    @hookimpl
    def forward(self, model, batch):
        return None
    @hookimpl
    def compute_loss(self, output, batch):
        return output.square().mean()

@component
class Lossless:
    """A task whose loss has no return."""
    @hookimpl
    def compute_loss(self, output, batch):
        output.mean()

@component
class Alone:
    """A task that does everything itself, and needs no loss of ours."""
    @hookimpl
    def build_training_step(self, run):
        optimizer = run.build_optimizer(run.model.parameters(), run.components["optimizer"])
        def step(batch):
            loss = run.model(batch.inputs).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            return loss
        return step
    @hookimpl
    def evaluate(self, run, data):
        return {"loss": 0.5}

@component
class Wraps:
    """Wraps what is asked one component at a time."""
    @hookimpl(wrapper=True)
    def prepare_parameters(self, model):
        return (yield)

@component
class WrapsSteps:
    """Wraps what is called on each step."""
    @hookimpl(wrapper=True)
    def on_step_end(self, run):
        return (yield)

@component
class Grouped:
    """A callback whose parameter groups decay by themselves."""
    @hookimpl
    def build_parameter_groups(self, model):
        return [{"params": model.parameters(), "weight_decay": 0.1}]

@component
class Ahead:
    """An optimizer around another one."""
    @hookimpl
    def build_optimizer(self, parameters, schedule):
        import paddle
        return paddle.incubate.LookAhead(paddle.optimizer.SGD(0.1, parameters=parameters))

@component
class Watches:
    """Says which moments it saw."""
    @hookimpl
    def on_run_start(self, run):
        print("started", run.status)
    @hookimpl
    def on_run_end(self, run):
        print("ended", run.status)

@hookimpl
def register_components(register):
    register("schedule/forgets", Forgets)
    register("optimizer/ahead", Ahead)
    for name, cls in {"silent": Silent, "lossless": Lossless, "alone": Alone}.items():
        register(f"task/{name}", cls)
    for cls in (Wraps, WrapsSteps, Grouped, Watches):
        register(f"callback/{cls.__name__.lower()}", cls)

@hookimpl
def register_commands(register):
    register("quiet", help="Returns nothing.", configure=lambda parser: None, run=lambda args: None)
    register("train", help="Takes a name of oarlock's.", configure=lambda parser: None, run=lambda args: 3)
'''

CASES = {
    "check schedule=forgets": "schedule=forgets: its build_schedule returned nothing",
    "check task=lossless": "task=lossless: its compute_loss returned nothing",
    "check +callback=wraps": "callback.wraps: prepare_parameters is asked one component at a time and cannot be a",
    "check +callback=wrapssteps": "callback.wrapssteps: on_step_end is called on each step and cannot be a wrapper",
    "check +callback=grouped regularizer=[l2]": "regularizer.l2 and a parameter group with weight_decay both decay",
    "check task=alone callback=[] regularizer=[clip_global_norm]": "the build_grad_clip of regularizer.clip_global_no",
}
FINE = [
    "check optimizer=ahead",
    "check task=silent callback=[]",
    "check task=alone callback=[]",
    "check +callback=watches",
    "quiet",
    "plugins",
]


@pytest.fixture
def answers(plugin, ask):
    lines = [*CASES, *FINE]
    return dict(zip(lines, ask(plugin(MISFITS, "misfits"), *lines), strict=True))


def test_misfits_are_named_before_anything_is_written(answers):
    for line, message in CASES.items():
        assert message in answers[line].err, (line, answers[line])
        assert answers[line].code == 2
        assert len(answers[line].err.splitlines()) <= 3
    for line in FINE:
        assert answers[line].code == 0, (line, answers[line])
    # A check begins a run, and so it ends it.
    assert answers["check +callback=watches"].out.startswith("started running\nended checked\n")
    assert "LookAhead keeps an optimizer inside" in answers["check optimizer=ahead"].err
    refused = "refused: the command 'train' of 'misfits' of oarlock-misfits 1.0 is one of oarlock's own"
    assert refused in answers["plugins"].out.splitlines()
