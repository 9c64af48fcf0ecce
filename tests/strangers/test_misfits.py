"""Components that return nothing, wrap what cannot be wrapped, or would be left out without a word."""

from __future__ import annotations

import pytest

MISFITS = '''
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple
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
    def optimizer(self, run):
        return run.build_optimizer(run.model.parameters(), run.components["optimizer"])
    @hookimpl
    def build_training_step(self, run):
        optimizer = self.optimizer(run)
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

@component
class Rows:
    """Data that is no Data."""
    @hookimpl
    def build_data(self):
        return [[1.0]], [0]

@component
class Doubles:
    """Rows of NumPy's own numbers."""
    @hookimpl
    def build_data(self):
        import numpy as np
        from oarlock import Arrays, Data
        rows = Arrays(np.ones((64, 3)), np.arange(64) % 2)
        return Data(rows, rows, class_names=["a", "b"])

@component
class Function:
    """A model that is no layer."""
    @hookimpl
    def build_model(self, spec):
        return lambda rows: rows

@component
class Unstepped:
    """An optimizer that is none."""
    @hookimpl
    def build_optimizer(self, parameters, schedule):
        return object()

@component
class Lbfgs:
    """An optimizer that computes the loss again, many times a step."""
    @hookimpl
    def build_optimizer(self, parameters, schedule):
        import paddle
        return paddle.optimizer.LBFGS(parameters=parameters)

@component
class Words:
    """A schedule that is a text."""
    @hookimpl
    def build_schedule(self, learning_rate):
        return f"{learning_rate}, later less"

@component
class Plateau:
    """A schedule that nobody gives its metric."""
    @hookimpl
    def build_schedule(self, learning_rate):
        import paddle
        return paddle.optimizer.lr.ReduceOnPlateau(learning_rate)

class Share:
    direction = "maximize"
    def update(self, output, batch): pass
    def accumulate(self): return 0.5
    def reset(self): pass

@component
class Mistaken:
    """A task with one mistake.

    Args:
        how: which.
    """
    how: str = ""

    @hookimpl
    def compute_loss(self, output, batch):
        loss = output.square().mean()
        return {"detached": loss.detach(), "vector": output.square().mean(axis=1)}.get(self.how, loss)

    @hookimpl
    def build_metrics(self):
        return {"direction": {"share": Share()}, "list": [Share()], "class": {"share": Share}}.get(self.how, {})

    @hookimpl
    def evaluate(self, run, data):
        return 0.5 if self.how == "number" else None

@component
class Apart(Alone):
    """A task with an optimizer of its own.

    Args:
        own: the optimizer.
    """
    own: Any = None

    def optimizer(self, run):
        return run.build_optimizer(run.model.parameters(), self.own)

@component
class ByHand(Alone):
    """A task that makes its optimizer without a word."""
    def optimizer(self, run):
        import paddle
        return paddle.optimizer.SGD(0.1, parameters=run.model.parameters())

@component
class Wordless(Alone):
    """A task whose step has no return."""
    @hookimpl
    def build_training_step(self, run):
        return lambda batch: None

@dataclass
class Inner:
    number: int = 1
    n: int = 0

@component
class Rich:
    """Options within options.

    Args:
        table: numbers by name.
        inner: perhaps one.
        n: perhaps another.
        bad: what to trip over.
        size: two numbers.
        heads: several by name.
        inners: several in a row.
    """
    table: Dict[str, float] = field(default_factory=dict)
    size: Tuple[int, int] = (3, 3)
    heads: Dict[str, Inner] = field(default_factory=dict)
    inners: List[Inner] = field(default_factory=list)
    inner: Optional[Inner] = None
    n: Optional[Inner] = None
    bad: str = ""

    def __post_init__(self):
        if self.bad:
            {}[self.bad]

    @hookimpl
    def on_run_start(self, run):
        print("rich", self.table, self.inner, self.n, *self.heads.values(), *self.inners)

@hookimpl
def register_components(register):
    register("callback/rich", Rich)
    register("schedule/forgets", Forgets)
    register("optimizer/ahead", Ahead)
    register("data/rows", Rows)
    register("data/doubles", Doubles)
    register("model/function", Function)
    register("optimizer/unstepped", Unstepped)
    register("optimizer/lbfgs", Lbfgs)
    register("schedule/words", Words)
    register("schedule/plateau", Plateau)
    register("task/mistaken", Mistaken)
    register("task/apart", Apart)
    register("task/by_hand", ByHand)
    register("task/wordless", Wordless)
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
    "check +callback=rich callback.rich.table.a=3": "'callback.rich.table' has no 'a' yet; add it with +callback.rich.table.a=",
    "check +callback=rich callback.rich.inner.numbr=4": "'callback.rich.inner' has no option 'numbr'. Did you mean 'number'?",
    "check +callback=rich callback.rich.size=[5]": "callback.rich.size=[5]: expected 2 values, got 1.",
    "check +callback=rich callback.rich.inners=[{numbr:5}]": (
        "callback.rich.inners=[{numbr:5}]: 'callback.rich.inners' has no option 'numbr'. Did you mean 'number'?"
    ),
    "check +callback=rich callback.rich.inners=[{number:x}]": "callback.rich.inners=[{number:x}]: number: Value 'x' of",
    "check +callback=rich +callback.rich.heads.a={number:2}": "to add one, write +callback.rich.heads={a:{number:2}}",
    "check +callback=rich callback.rich.bad=a": "callback.rich: KeyError: 'a'\nraised at ",
    "check schedule=forgets": "schedule=forgets: its build_schedule returned nothing",
    "check task=lossless": "task=lossless: its compute_loss returned nothing",
    "check +callback=wraps": "callback.wraps: prepare_parameters is asked one component at a time and cannot be a",
    "check +callback=wrapssteps": "callback.wrapssteps: on_step_end is called on each step and cannot be a wrapper",
    "check +callback=grouped regularizer=[l2]": "regularizer.l2 and a parameter group with weight_decay both decay",
    "check data=rows": "data=rows: its build_data returned tuple; expected oarlock's Data",
    "check data=doubles model=function": "model=function: its build_model returned function; expected paddle's Layer",
    "check model=function": "model=function: its build_model returned function; expected paddle's Layer",
    "check optimizer=unstepped": "optimizer=unstepped: its build_optimizer returned object; expected paddle's Optimizer",
    "check optimizer=lbfgs": "optimizer=lbfgs: the step of LBFGS needs a closure, and is given nothing here.\nMake the steps in",
    "check schedule=words": "schedule=words: its build_schedule returned str; expected a number or Paddle's LRScheduler",
    "check schedule=plateau": "schedule=plateau: its rate follows a metric, and nothing steps it.\nStep it in on_eval",
    "check task=mistaken task.how=detached": "task=mistaken: no parameter has a gradient of its loss",
    "check task=mistaken task.how=vector": "compute_loss returned [32]; expected a tensor of one number, as mean() gives",
    "check task=mistaken task.how=direction": "returned 'share' with direction='maximize'; expected 'max' where more is",
    "check task=mistaken task.how=list": "its build_metrics returned list; expected a dict of metrics by name",
    "check task=mistaken task.how=class": "expected an object with update, accumulate and reset",
    "train task=mistaken task.how=number trainer.max_steps=1": "evaluate returned float; expected a dict of numbers by name",
    "check task=wordless callback=[]": "task=wordless: its training step returned nothing; expected the loss",
    "check task=alone callback=[] optimizer=adamw regularizer=[l2]": "optimizer and regularizer.l2 both decay",
    "check task=apart callback=[] task.own=lamb": "'lamb' is no optimizer component; a field of the task that is one is",
    "check task=apart callback=[] +optimizer@task.own=lamb regularizer=[l2]": "regularizer.l2 and Lamb both decay",
    "check task=alone callback=[] regularizer=[clip_global_norm]": "the build_grad_clip of regularizer.clip_global_no",
}
FINE = [
    "check +callback=rich callback.rich.inner.number=4 +callback.rich.table.a=3",
    "check +callback=rich callback.rich.inner={number:5}",
    "check +callback=rich callback.rich.n.n=6",
    "check +callback=rich callback.rich.size=[5,6]",
    "check +callback=rich +callback.rich.heads={a:{number:2}} callback.rich.inners=[{number:3}]",
    "check -m +callback=rich callback.rich.inner.number=4,5 optimizer=sgd,adam",
    "check optimizer=ahead",
    "check task=silent callback=[]",
    "check task=alone callback=[]",
    "check task=alone callback=[] optimizer=adamw",
    "check task=apart callback=[] +optimizer@task.own=lamb optimizer=adamw",
    "check task=by_hand callback=[]",
    "check task=mistaken callback=[]",
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
    doubles = answers["check data=doubles model=function"].err
    assert (
        "data=doubles: its inputs are float64, and layers compute in float32; give inputs.astype('float32')" in doubles
    )
    rich = answers["check +callback=rich callback.rich.inner.number=4 +callback.rich.table.a=3"]
    assert rich.out.startswith("rich {'a': 3.0} Inner(number=4, n=0) None\n")
    assert answers["check +callback=rich callback.rich.inner={number:5}"].out.startswith("rich {} Inner(number=5, n=0)")
    assert answers["check +callback=rich callback.rich.n.n=6"].out.startswith("rich {} None Inner(number=1, n=6)\n")
    several = answers["check +callback=rich +callback.rich.heads={a:{number:2}} callback.rich.inners=[{number:3}]"]
    assert several.out.startswith("rich {} None None Inner(number=2, n=0) Inner(number=3, n=0)\n")
    # A check begins a run, and so it ends it.
    assert answers["check +callback=watches"].out.startswith("started running\nended checked\n")
    assert (
        "its training step makes its optimizer without run.build_optimizer"
        in answers["check task=by_hand callback=[]"].err
    )
    assert "decays by optimizer" in answers["check task=alone callback=[] optimizer=adamw"].out
    assert "decays by Lamb" in answers["check task=apart callback=[] +optimizer@task.own=lamb optimizer=adamw"].out
    assert "LookAhead keeps an optimizer inside" in answers["check optimizer=ahead"].err
    refused = "refused: the command 'train' of 'misfits' of oarlock-misfits 1.0 is one of oarlock's own"
    assert refused in answers["plugins"].out.splitlines()
