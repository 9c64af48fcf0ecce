"""What oarlock expects of a component of one kind, beside what it expects of all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oarlock.calls import call
from oarlock.data import Batch, ModelSpec, each
from oarlock.errors import UserError, one_line
from oarlock.experiment import build_run
from oarlock.run import Run
from oarlock.testing.subject import Nonconforming, Subject, history

# --- optimizer


def lowers_a_convex_loss(subject: Subject) -> None:
    """On f(w) = |Aw - b|^2 it comes nearer to the minimum, and moves every parameter that has a gradient."""
    import paddle

    component = subject.component(build_run(subject.host, subject.compose()))
    rng = np.random.default_rng(0)
    matrix, target = (paddle.to_tensor(rng.normal(size=size).astype("float32")) for size in ((8, 4), (8, 3)))
    layer = paddle.nn.Linear(4, 3)
    before = [parameter.numpy().copy() for parameter in layer.parameters()]
    optimizer = call(component.build_optimizer, parameters=layer.parameters(), schedule=lambda rate: rate)
    losses = []
    for _ in range(50):
        loss = (layer(matrix) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss.item()))
    if not losses[-1] < losses[0]:
        raise Nonconforming(f"{subject.path} takes a convex loss from {losses[0]:.4g} to {losses[-1]:.4g} in 50 steps. "
                            "Check the sign of the update and the default learning rate.")  # fmt: skip
    still = [parameter.name for parameter, old in zip(layer.parameters(), before, strict=True)
             if np.array_equal(parameter.numpy(), old)]  # fmt: skip
    if still:
        raise Nonconforming(
            f"{subject.path} leaves {len(still)} of 2 parameters as they were. Update all that it is given."
        )


def follows_the_schedule(subject: Subject) -> None:
    """Its learning rate is what `schedule(self.learning_rate)` returns, a number or Paddle's LRScheduler."""
    import paddle

    component = subject.component(build_run(subject.host, subject.compose()))
    rates = paddle.optimizer.lr.PiecewiseDecay([1], [0.5, 0.25])
    asked: list[float] = []

    def schedule(rate: float) -> Any:
        asked.append(rate)
        return rates

    optimizer = call(component.build_optimizer, parameters=paddle.nn.Linear(2, 2).parameters(), schedule=schedule)
    seen = [optimizer.get_lr()]
    rates.step()
    seen.append(optimizer.get_lr())
    if not asked or seen != [0.5, 0.25]:
        raise Nonconforming(f"{subject.path} does not follow the schedule: its rate is {seen[0]:.4g}, then {seen[1]:.4g}, "
                            "for 0.5, then 0.25. Give schedule(self.learning_rate) to Paddle's learning_rate=.")  # fmt: skip


# --- model


def gives_the_declared_shape(subject: Subject) -> None:
    """[rows, outputs], or [rows] and the shape of a target, for 1 (in eval mode), 2 and 7 rows, in train and eval mode."""
    import paddle

    run = subject.build()
    batch = _enlarged(next(run.feeder.epoch(0, 0))[0], 7)
    wanted = _output_shapes(run.data.model_spec(), batch)
    for mode, rows in (("eval", 1), ("eval", 2), ("eval", 7), ("train", 2), ("train", 7)):
        run.model.train() if mode == "train" else run.model.eval()
        part = Batch(*(each(tree, lambda leaf, rows=rows: leaf[:rows]) for tree in (batch.inputs, batch.targets)))
        try:
            with paddle.no_grad():
                output = run.forward(run.model, part)
        except Exception as error:
            raise Nonconforming(f"{subject.path} fails on {rows} rows in {mode} mode: {one_line(error)}") from error
        found = list(output.shape) if hasattr(output, "shape") else None
        if found is not None and wanted and found not in [[rows, *shape] for shape in wanted]:
            raise Nonconforming(f"{subject.path} gives {found} for {rows} rows in {mode} mode. The data asks for "
                                f"{' or '.join(str([rows, *shape]) for shape in wanted)}: take the number of outputs from spec.num_outputs.")  # fmt: skip


def _enlarged(batch: Batch, rows: int) -> Batch:
    """A batch of at least so many rows, some of them more than once."""
    import paddle

    times = math.ceil(rows / batch.size)
    return Batch(*(each(tree, lambda leaf: paddle.concat([leaf] * times)) for tree in (batch.inputs, batch.targets)))


def _output_shapes(spec: ModelSpec, batch: Batch) -> list[list[int]]:
    """What the output of a row may be; nothing where the data does not say what it asks for."""
    if spec.num_classes is not None:
        # A class for each place of a target, as where words are labelled.
        places = list(batch.targets.shape[1:]) if hasattr(batch.targets, "shape") else []
        return [[spec.num_classes], *([[*places, spec.num_classes]] if places else [])]
    if spec.output_shape is None:
        return []
    flat, whole = [spec.num_outputs], list(spec.output_shape)
    return [flat] if flat == whole else [flat, whole]


# --- regularizer


def has_the_right_gradient(subject: Subject) -> None:
    """A penalty's gradient agrees with finite differences, a clip keeps its parameters and is done after one pass."""
    run = subject.build()
    for penalty in run.flat("compute_penalty", "model"):
        _compare_with_differences(subject, run, penalty)
    for clip in run.grad_clips:
        _check_clip(subject, run, clip)


def _compare_with_differences(subject: Subject, run: Run, penalty: Callable[[Any], Any]) -> None:
    value = penalty(run.model)
    if value is None:
        return
    if list(value.shape) not in ([], [1]):
        raise Nonconforming(f"The penalty of {subject.path} has the shape {list(value.shape)}. Return a scalar.")
    value.backward()
    rng = np.random.default_rng(0)
    for name, parameter in run.model.named_parameters():
        if parameter.stop_gradient:
            continue
        gradient = np.zeros(parameter.shape, "float32") if parameter.grad is None else parameter.grad.numpy()
        direction = rng.normal(size=parameter.shape).astype("float32")
        start, step = parameter.numpy().copy(), 1e-2
        sides = []
        for sign in (1, -1):
            parameter.set_value((start + sign * step * direction).astype("float32"))
            sides.append(float(penalty(run.model).item()))
        parameter.set_value(start)
        numeric, analytic = (sides[0] - sides[1]) / (2 * step), float((gradient * direction).sum())
        scale = max(abs(numeric), abs(analytic), 1e-3)
        if abs(numeric - analytic) > 0.05 * scale:
            raise Nonconforming(f"The penalty of {subject.path} has the slope {numeric:.4g} along a direction in '{name}', "
                                f"its gradient says {analytic:.4g}. Compute it from the model's parameters with Paddle's "
                                "operations, and without detach() or numpy().")  # fmt: skip


def _check_clip(subject: Subject, run: Run, clip: Callable[[list[Any]], list[Any]]) -> None:
    import paddle

    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e3):
        parameters = [parameter for parameter in run.model.parameters() if not parameter.stop_gradient]
        pairs = [(one, paddle.to_tensor((scale * rng.normal(size=one.shape)).astype("float32"))) for one in parameters]
        once = clip(list(pairs))
        if [id(parameter) for parameter, _ in once] != [id(parameter) for parameter, _ in pairs] or any(
            list(gradient.shape) != list(parameter.shape) for parameter, gradient in once
        ):
            raise Nonconforming(f"The clip of {subject.path} does not return a gradient of its shape for each parameter. "
                                "Return [(parameter, gradient)] in the order that it came.")  # fmt: skip
        twice = clip(list(once))
        for (_, first), (_, second) in zip(once, twice, strict=True):
            if not np.allclose(first.numpy(), second.numpy(), rtol=1e-4, atol=1e-12):
                raise Nonconforming(f"The clip of {subject.path} changes gradients that it has clipped already: its bound "
                                    "does not hold after it.")  # fmt: skip


# --- callback


def leaves_the_numbers_alone(subject: Subject) -> None:
    """A run with it has the numbers of a run without; a callback that changes them says `changes_run = True`."""
    if getattr(subject.entry.cls, "changes_run", False):
        return
    with_it = history(subject.whole)
    without = history(subject.train_without("without"))
    if with_it != without:
        raise Nonconforming(f"A run with {subject.path} has other numbers than one without. If that is what it is for, say "
                            "`changes_run = True` in the class; otherwise draw no random numbers and change no "
                            "weights.")  # fmt: skip


# --- data


def gives_rows_as_declared(subject: Subject) -> None:
    """It has training rows; a batch has the shape and type that the data declares, and values that are finite."""
    run = subject.build()
    batch = next(run.feeder.epoch(0, 0))[0]
    spec = run.data.model_spec()
    specs = spec.inputs if isinstance(spec.inputs, Mapping) else {"": spec.inputs}
    leaves = batch.inputs if isinstance(batch.inputs, Mapping) else {"": batch.inputs}
    for name, leaf in leaves.items():
        found, declared = tuple(leaf.shape[1:]), tuple(specs[name].shape)
        if len(found) != len(declared) or any(b not in (a, None, -1) for a, b in zip(found, declared, strict=True)):
            raise Nonconforming(
                f"{subject.path} declares inputs of the shape {list(declared)} and gives {list(found)}."
            )
        if not np.isfinite(leaf.numpy().astype("float64")).all():
            raise Nonconforming(f"{subject.path} gives inputs that are not finite. Fill or drop them when it is read.")


def gives_the_same_rows_again(subject: Subject) -> None:
    """The rows do not depend on the run's seed nor on what was drawn before."""

    def rows(*more: str) -> list[Any]:
        found: list[Any] = []
        run = subject.build(*more)
        np.random.random(3)
        for part in (run.data.train, run.data.valid, run.data.test):
            if hasattr(part, "__len__") and hasattr(part, "__getitem__") and len(part):
                sample = part[0:3] if hasattr(part, "inputs") else part[0]
                each_leaf = sample if isinstance(sample, (tuple, list)) else (sample,)
                for tree in each_leaf:
                    each(tree, lambda leaf: found.append(np.asarray(leaf).tolist()))
        return found

    if rows() != rows("seed=1"):
        raise Nonconforming(f"{subject.path} has other rows with another seed=. Draw splits and samples from a seed of the "
                            "data's own, such as a field split_seed.")  # fmt: skip


# --- task


def has_a_mean_loss(subject: Subject) -> None:
    """The loss is a scalar, averaged over rows, and every row's gradient reaches the model."""
    run = subject.build()
    if run.engine == "custom":
        return
    run.model.eval()  # so that rows do not depend on each other
    batch = next(run.feeder.epoch(0, 0))[0]

    def repeated(times: int) -> Any:
        import paddle

        parts = [each(tree, lambda leaf: paddle.concat([leaf] * times)) for tree in (batch.inputs, batch.targets)]
        return run.compute_loss(run.forward(run.model, Batch(*parts)), Batch(*parts))

    once, twice = repeated(1), repeated(2)
    if list(once.shape) not in ([], [1]):
        raise Nonconforming(f"The loss of {subject.path} has the shape {list(once.shape)}. Return a scalar: the mean over "
                            "the rows.")  # fmt: skip
    if not math.isclose(float(once.item()), float(twice.item()), rel_tol=1e-4, abs_tol=1e-6):
        raise Nonconforming(f"The loss of {subject.path} is {float(once.item()):.5g} on a batch and "
                            f"{float(twice.item()):.5g} on the same rows twice. Average over the rows, do not sum.")  # fmt: skip


def has_sound_metrics(subject: Subject) -> None:
    """Each metric forgets at reset(), and is the same for one batch as for its two halves."""
    import paddle

    run = subject.build()
    run.model.eval()
    batch = next(run.feeder.epoch(0, 0))[0]
    half = batch.size // 2

    def part(begin: int, end: int) -> Batch:
        return Batch(*(each(tree, lambda leaf: leaf[begin:end]) for tree in (batch.inputs, batch.targets)))

    for name, metric in run.measures.items():
        values = []
        for pieces in ([(0, 2 * half)], [(0, half), (half, 2 * half)], [(0, half // 2), (half // 2, 2 * half)]):
            metric.reset()
            for begin, end in pieces:
                with paddle.no_grad():
                    metric.update(run.forward(run.model, part(begin, end)), part(begin, end))
            values.append(float(metric.accumulate()))
        if not np.allclose(values, values[0], rtol=1e-4, atol=1e-6):
            raise Nonconforming(f"The metric '{name}' of {subject.path} depends on how rows are split into batches: "
                                f"{values}. Keep sums and counts, divide in accumulate(), and forget both in reset().")  # fmt: skip


# --- schedule


def gives_sound_rates(subject: Subject) -> None:
    """Every rate of a run is finite and not negative, scales with the learning rate, and comes back after a resume."""
    component = subject.component(build_run(subject.host, subject.compose()))

    def schedule(rate: float, total: int | None = 40) -> Any:
        return call(component.build_schedule, learning_rate=rate, total_steps=total)

    def rates(built: Any, steps: int = 40) -> list[float]:
        found = []
        for _ in range(steps):
            found.append(float(built.get_lr()) if hasattr(built, "get_lr") else float(built))
            if hasattr(built, "step"):
                built.step()
        return found

    one, ten = rates(schedule(0.1)), rates(schedule(1.0))
    if not all(math.isfinite(rate) and rate >= 0 for rate in one):
        raise Nonconforming(
            f"{subject.path} gives rates that are negative or not finite: {min(one):.4g} to {max(one):.4g}."
        )
    if not np.allclose(np.multiply(one, 10), ten, rtol=1e-5):
        raise Nonconforming(f"{subject.path} does not start from the optimizer's learning rate: ten times the rate gives "
                            f"{ten[:3]} for {one[:3]}. Scale learning_rate; set no rate of its own.")  # fmt: skip
    built = schedule(0.1)
    if hasattr(built, "state_dict"):
        rates(built, 5)
        state = json.loads(json.dumps({key: float(value) if hasattr(value, "item") else value
                                       for key, value in built.state_dict().items()}))  # fmt: skip
        again = schedule(0.1)
        again.set_state_dict(state)
        if rates(again, 10) != rates(built, 10):
            raise Nonconforming(f"A restored {subject.path} goes on with other rates. Compute them from last_epoch.")
    try:
        schedule(0.1, None)
    except UserError:
        return  # it says that it needs a length
    except Exception as error:
        raise Nonconforming(f"{subject.path} fails where the data has no length (total_steps=None): {one_line(error)}. "
                            "Raise oarlock.UserError and ask for trainer.max_steps.") from error  # fmt: skip


def _named(*checks: Callable[[Subject], None]) -> dict[str, Callable[[Subject], None]]:
    return {check.__name__: check for check in checks}


CHECKS = {
    "optimizer": _named(lowers_a_convex_loss, follows_the_schedule),
    "model": _named(gives_the_declared_shape),
    "regularizer": _named(has_the_right_gradient),
    "callback": _named(leaves_the_numbers_alone),
    "data": _named(gives_rows_as_declared, gives_the_same_rows_again),
    "task": _named(has_a_mean_loss, has_sound_metrics),
    "schedule": _named(gives_sound_rates),
}
