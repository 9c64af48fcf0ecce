"""What cannot be a program, or would be another one, is trained eagerly, with the same numbers and one line that says so."""

from __future__ import annotations

import json

import numpy as np
import pytest

import oarlock
from oarlock_plugins.engines import private
from tests.conftest import equal_ends

HEAD = """
from __future__ import annotations
import math
from types import SimpleNamespace
import numpy as np
from oarlock import component, hookimpl

def build(forward_of):
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self, spec):
            super().__init__()
            self.flat, self.hidden = nn.Flatten(), nn.Linear(math.prod(spec.input_shape), 8)
            self.out = nn.Linear(8, spec.num_outputs)
            self.calls, self.seen, self.carried = 0, [], None
            self.noise = np.random.default_rng(0)
            self.inside = {"calls": 0, "objects": [SimpleNamespace(calls=0)], "tensors": [paddle.ones([1])]}
            self.register_buffer("passing", paddle.ones([1]), persistable=False)

        def forward(self, x):
            return forward_of(self, self.flat(x))

    return Net
"""
MODEL = '''
@component
class Mine:
    """A model that is hard to compile."""

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle.nn import functional
{body}
        return build(forward)(spec)

@hookimpl
def register_components(register):
    register("model/mine", Mine)
'''
BODIES = {
    # what the model does, and a word of the reason
    "an if on a tensor's value": ("""
        def forward(self, x):
            h = self.hidden(x)
            if h.mean() > 0:
                h = h * 2
            return self.out(functional.relu(h))
""", "does not become a program"),
    "a loop until a value": ("""
        def forward(self, x):
            h = self.hidden(x)
            while float(h.abs().max()) > 3:
                h = h / 2
            return self.out(h)
""", "does not become a program"),
    "a PyLayer": ("""
        class Double(paddle.autograd.PyLayer):
            @staticmethod
            def forward(ctx, x):
                return x * 2
            @staticmethod
            def backward(ctx, grad):
                return grad * 3
        def forward(self, x):
            return self.out(Double.apply(self.hidden(x)))
""", "program"),
    "NumPy in between": ("""
        def forward(self, x):
            h = self.hidden(x)
            return self.out(h * paddle.to_tensor(np.tanh(h.numpy()).mean(keepdims=True).astype("float32")))
""", "does not become a program"),
    "a counter": ("""
        def forward(self, x):
            self.calls += self.training
            return self.out(self.hidden(x)) * (1 + self.calls % 3)
""", "changes model.calls"),
    "a list that grows": ("""
        def forward(self, x):
            if self.training:
                self.seen.append(1)
            return self.out(self.hidden(x)) / len(self.seen)
""", "changes model.seen"),
    "a draw from NumPy": ("""
        def forward(self, x):
            h = self.hidden(x)
            return self.out(h * float(np.random.rand()) if self.training else h)
""", "NumPy's random generator"),
    "a draw from a generator of its own": ("""
        def forward(self, x):
            h = self.hidden(x)
            return self.out(h * float(self.noise.normal()) if self.training else h)
""", "changes model.noise"),
    "a counter in a dict": ("""
        def forward(self, x):
            self.inside["calls"] += self.training
            return self.out(self.hidden(x)) * (1 - self.inside["calls"] / 20000)
""", "changes model.inside.calls"),
    "a counter in an object in a list": ("""
        def forward(self, x):
            self.inside["objects"][0].calls += self.training
            return self.out(self.hidden(x)) * (1 - self.inside["objects"][0].calls / 20000)
""", "changes model.inside.objects.calls"),
    "a tensor in a list that shrinks": ("""
        def forward(self, x):
            if self.training:
                self.inside["tensors"][0].scale_(0.9999)
            return self.out(self.hidden(x)) * self.inside["tensors"][0]
""", "changes model.inside.tensors"),
    "a buffer that no checkpoint has": ("""
        def forward(self, x):
            if self.training:
                self.passing.scale_(0.9999)
            return self.out(self.hidden(x)) * self.passing
""", "computes otherwise"),
    "a tensor that is carried on": ("""
        def forward(self, x):
            h = self.hidden(x)
            mean = h.mean(axis=0).detach()
            self.carried = mean if self.carried is None else self.carried * 0.9 + mean * 0.1
            return self.out(h - self.carried)
""", "changes model.carried"),
    "a look at the mode": ("""
        def forward(self, x):
            return self.out(self.hidden(x)) * (1 if paddle.in_dynamic_mode() else 2)
""", "computes otherwise"),
}  # fmt: skip
JOB = ["model=mine", "callback=[]", "trainer.epochs=2", "trainer.drop_last=false"]


@pytest.mark.parametrize("what", BODIES)
def test_a_model_that_cannot_be_compiled_trains_as_eager_does(oarlock, plugin, tmp_path, what):
    body, reason = BODIES[what]
    env = plugin(HEAD + MODEL.replace("{body}", body))
    done = oarlock("train", *JOB, "hydra.run.dir=auto", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: engine eager: ")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    record = json.loads((tmp_path / "auto" / "run.json").read_text())
    assert record["engine"] == "eager"
    assert record["engine_reason"] in done.stderr
    assert oarlock("train", *JOB, "trainer.engine=eager", "hydra.run.dir=eager", env=env).returncode == 0
    assert equal_ends(tmp_path / "auto", tmp_path / "eager")
    refused = oarlock("train", *JOB, "trainer.engine=compiled", "hydra.run.dir=compiled", env=env)
    assert refused.returncode != 0
    assert "trainer.engine=compiled: " in refused.stderr
    assert len(refused.stderr.splitlines()) <= 3, refused.stderr


WRITES = """
from oarlock import component, hookimpl
from oarlock_plugins.tasks.classification import Classification

@component
class Writes(Classification):
    always: bool = True

    @hookimpl
    def forward(self, model, batch):
        if self.always or not model.training:
            batch.inputs.scale_(0.5)
        return model(batch.inputs)

@hookimpl
def register_components(register):
    register("task/writes", Writes)
"""


@pytest.mark.parametrize("always", ["true", "false"])
def test_what_a_forward_writes_into_its_rows_is_gone_with_the_batch(oarlock, plugin, tmp_path, always):
    """The rows of an evaluation come again in the next one, and those of a first batch are tried before they count."""
    env = plugin(WRITES)
    for engine in ("auto", "eager"):
        done = oarlock("train", "task=writes", f"task.always={always}", "callback=[]", "trainer.epochs=4",
                       f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("a step changes the rows that it is given" in done.stderr) == (engine == "auto" and always == "true")
    assert equal_ends(tmp_path / "auto", tmp_path / "eager")
    best = json.loads((tmp_path / "eager" / "run.json").read_text())["best"]
    measured = json.loads(oarlock("evaluate", "eager", "--json", env=env).stdout)
    assert measured[best["monitor"]] == best["value"]
    rows = [json.loads(line) for line in (tmp_path / "eager" / "metrics.jsonl").read_text().splitlines()]
    assert rows[best["epoch"] - 1]["valid/loss"] == measured["valid/loss"]


def test_a_model_with_a_counter_where_nobody_looks_is_not_compiled(oarlock, plugin, tmp_path):
    """Its steps are told by their results; to put back what they have changed, one would have to know the place."""
    body = """
        class Calls:
            made = 0
        def forward(self, x):
            Calls.made += self.training
            return self.out(self.hidden(x)) * (1 - Calls.made / 20000)
"""
    done = oarlock("train", *JOB, "hydra.run.dir=run", env=plugin(HEAD + MODEL.replace("{body}", body)))
    assert done.returncode == 0, done.stderr
    assert "the program computes otherwise: eager steps from the same state differ" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["engine"] == "eager"


ROUNDED = """
from oarlock import component, hookimpl

@component
class Rounded:
    \"\"\"Cross-entropy whose last bits are others in a program.\"\"\"

    @hookimpl
    def compute_loss(self, output, batch):
        import paddle
        from paddle.nn.functional import cross_entropy

        loss = cross_entropy(output, batch.targets)
        return loss if paddle.in_dynamic_mode() else loss * {factor}

    @hookimpl
    def build_metrics(self, data):
        return {{}}

@hookimpl
def register_components(register):
    register("task/rounded", Rounded)
"""


@pytest.mark.parametrize(("factor", "engine"), [("(1 + 2e-7)", "compiled"), ("1.001", "eager")])
def test_rounding_that_an_optimizer_scales_up_is_no_other_result(oarlock, plugin, tmp_path, factor, engine):
    """A bias in front of a BatchNorm has no gradient but rounding, of which Adam makes whole steps."""
    env = plugin(ROUNDED.format(factor=factor))
    done = oarlock("train", "task=rounded", "callback=[]", "trainer.monitor=valid/loss", "hydra.run.dir=run", env=env)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["engine"] == engine, record["engine_reason"]
    assert engine == "compiled" or record["engine_reason"].startswith("the program computes otherwise: its losses are")


PARTS = (
    HEAD
    + '''
@component
class Gradients:
    """Reads gradients."""

    @hookimpl
    def after_backward(self, run):
        assert run.model.parameters()[0].grad is not None

@component
class Own:
    """An optimizer with a step of its own."""

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        import paddle

        class Sign(paddle.optimizer.SGD):
            def step(self):
                for parameter in self._parameter_list:
                    if parameter.grad is not None:
                        parameter.grad = parameter.grad.sign()
                super().step()

        return Sign(schedule(0.001), parameters=parameters)

@component
class Counts:
    """An optimizer that counts what it does in an attribute, and goes by it."""

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        import paddle

        class Fading(paddle.optimizer.SGD):
            made = 0

            def _append_optimize_op(self, block, param_and_grad):
                self.made += 1
                if self.made % 7 == 0:
                    super()._append_optimize_op(block, param_and_grad)

        return Fading(schedule(0.1), parameters=parameters)

@component
class Said:
    """Says that it is eager."""

    traceable = False

    @hookimpl
    def compute_penalty(self, model):
        return None

@component
class Annealed:
    """A penalty that fades."""

    @hookimpl
    def on_run_start(self, run):
        self._run = run

    @hookimpl
    def compute_penalty(self, model):
        return model.parameters()[0].square().sum() / (1000 + self._run.step)

@component
class Follows:
    """A penalty that follows the learning rate."""

    @hookimpl
    def on_run_start(self, run):
        self._run = run

    @hookimpl
    def compute_penalty(self, model):
        return model.parameters()[0].square().sum() * self._run.learning_rate()

@component
class Weights:
    """Gives weights other storage after each step."""

    changes_run = True

    @hookimpl
    def on_step_end(self, run):
        import paddle
        with paddle.no_grad():
            for parameter in run.model.parameters():
                parameter.data = parameter * 0.999

@component
class Quiet:
    """Sets weights in between."""

    changes_run = True

    @hookimpl
    def on_step_end(self, run):
        if run.step % 5 == 0:
            run.model.set_state_dict({name: tensor * 0.5 for name, tensor in run.model.state_dict().items()})

@hookimpl
def register_components(register):
    register("callback/gradients", Gradients)
    register("callback/weights", Weights)
    register("callback/quiet", Quiet)
    register("optimizer/own", Own)
    register("optimizer/counts", Counts)
    register("regularizer/said", Said)
    register("regularizer/annealed", Annealed)
    register("regularizer/follows", Follows)
'''
)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["callback=[gradients]"], "callback.gradients reads gradients (after_backward)"),
        (["optimizer=own", "callback=[]"], "Sign makes its steps in a way of its own"),
        (["optimizer=counts", "callback=[]"], "a step changes optimizer 0.made, which a program would freeze"),
        (["regularizer=[said]", "callback=[]"], "regularizer/said says traceable = False"),
        (["regularizer=[annealed]", "callback=[]"], "a step reads run.step, which a program would freeze"),
        (
            ["regularizer=[follows]", "callback=[]", "schedule=cosine"],
            "a step reads run.learning_rate(), which a program would freeze",
        ),
    ],
)
def test_a_component_that_needs_eager_steps_has_them(oarlock, plugin, tmp_path, words, reason):
    env = plugin(PARTS)
    job = ["train", "model.widths=[8]", "trainer.epochs=1", *words]
    done = oarlock(*job, "hydra.run.dir=auto", env=env)
    assert (done.returncode, done.stderr) == (0, f"warning: engine eager: {reason}\n")
    assert oarlock(*job, "trainer.engine=eager", "hydra.run.dir=eager", env=env).returncode == 0
    assert equal_ends(tmp_path / "auto", tmp_path / "eager")
    refused = oarlock(*job, "trainer.engine=compiled", env=env)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: trainer.engine=compiled: {reason}.\nChoose trainer.engine=auto")


@pytest.mark.parametrize("callback", ["weights", "quiet"])
def test_weights_that_a_callback_sets_are_the_program_s(oarlock, plugin, tmp_path, callback):
    env = plugin(PARTS)
    for engine in ("compiled", "eager"):
        done = oarlock("train", "model.widths=[8]", "trainer.epochs=2", f"callback=[{callback}]", "optimizer=momentum",
                       f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    assert equal_ends(tmp_path / "compiled", tmp_path / "eager")


RAGGED = '''
from __future__ import annotations
import numpy as np
from oarlock import Batch, Data, InputSpec, component, hookimpl

@component
class Ragged:
    """Rows of another length in each batch."""

    lengths: int = 3

    @hookimpl
    def build_data(self):
        import paddle

        def collate(samples):
            length = 4 + int(samples[0][1]) % self.lengths
            inputs = np.stack([np.resize(sample[0], (length, 5)) for sample in samples])
            return Batch(paddle.to_tensor(inputs), paddle.to_tensor(np.array([sample[1] % 3 for sample in samples])))

        rng = np.random.default_rng(0)
        rows = [(rng.normal(size=(6, 5)).astype("float32"), number) for number in range(160)]

        class Rows(paddle.io.Dataset):
            def __len__(self):
                return len(rows)

            def __getitem__(self, index):
                return rows[index]

        return Data(Rows(), Rows(), inputs=InputSpec((6, 5)), class_names=["a", "b", "c"], collate=collate)

@component
class Mean:
    """The mean over a row, and a layer."""

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        class Net(nn.Layer):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(5, spec.num_outputs)

            def forward(self, x):
                return self.out(x.mean(axis=1))

        return Net()

@hookimpl
def register_components(register):
    register("data/ragged", Ragged)
    register("model/mean", Mean)
'''


@pytest.mark.parametrize(("lengths", "said"), [(3, ""), (12, "shapes beyond the first 8 are eager")])
def test_batches_of_many_shapes(oarlock, plugin, tmp_path, lengths, said):
    env = plugin(RAGGED)
    for engine in ("auto", "eager"):
        done = oarlock("train", "data=ragged", f"data.lengths={lengths}", "model=mean", "trainer.batch_size=4", "optimizer=momentum",
                       "callback=[]", "trainer.epochs=2", f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert said in done.stderr or engine == "eager"
        assert len(done.stderr.splitlines()) == (1 if said and engine == "auto" else 0), done.stderr
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["engine"] == "compiled"
    assert equal_ends(tmp_path / "auto", tmp_path / "eager")


def test_a_run_goes_on_with_its_own_engine_or_not_at_all(oarlock, plugin, tmp_path):
    """Its model can no longer be compiled, and then can be again."""
    model = HEAD + MODEL.replace("{body}", """
        def forward(self, x):
            return self.out(functional.relu(self.hidden(x)))
""")  # fmt: skip
    env = plugin(model)
    module = tmp_path / "site" / "stranger_module.py"
    assert oarlock("train", *JOB, "hydra.run.dir=run", env=env).returncode == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["engine"] == "compiled"
    module.write_text(model.replace("class Mine:", "class Mine:\n    traceable = False"))
    done = oarlock("resume", "run", "trainer.epochs=3", env=env)
    assert done.returncode == 1
    assert "made by the engine compiled; here eager would make them (model/mine says traceable = False)" in done.stderr
    module.write_text(model)
    done = oarlock("resume", "run", "trainer.epochs=3", env=env)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["engine"], record["status"]) == ("compiled", "completed")
    assert np.isfinite(record["metrics"]["train/loss"])


def test_no_engine(oarlock):
    done = oarlock("train", "~engine", "trainer.engine=compiled")
    assert done.returncode == 2
    assert "this run has no engine that compiles" in done.stderr
    assert "add a component of group engine" in done.stderr
    assert "Did you mean 'static'" in oarlock("train", "engine=statik").stderr


@pytest.mark.parametrize("failing", ["all", "with memory"])
def test_a_program_that_does_not_run_is_not_used(tmp_path, monkeypatch, capsys, failing):
    """With memory: one that updates parameters side by side, as the first one does that is tried."""
    bind, failed = private.Direct.bind, []

    def fails():
        raise RuntimeError("(InvalidArgument) no kernel\n  [operator < fc > error]")

    def bound(self, feeds):
        if failing == "all" or not failed:
            failed.append(self)
            return [fails]
        return bind(self, feeds)

    monkeypatch.setattr(private.Direct, "bind", bound)
    words = ["trainer.epochs=2", "optimizer=momentum", "model.widths=[8]", "callback=[]", "seed=11"]
    broken = oarlock.train([*words, f"hydra.run.dir={tmp_path}/broken"])
    monkeypatch.undo()
    said = capsys.readouterr().err
    sound = oarlock.train([*words, "trainer.engine=eager", f"hydra.run.dir={tmp_path}/sound"])
    engine = json.loads((broken.folder / "run.json").read_text())["engine"]
    assert engine == ("eager" if failing == "all" else "compiled")
    assert ("it does not run (RuntimeError: [operator < fc > error])" in said) == (failing == "all")
    assert equal_ends(broken.folder, sound.folder)
