"""The compiled step: which program fits a batch, how it is fed, and what is made eagerly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from oarlock import Batch, Rows, UserError, build_eager_step, warn
from oarlock_plugins.engines import private
from oarlock_plugins.engines.bystanders import may_touch
from oarlock_plugins.engines.making import Maker, own, shapes
from oarlock_plugins.engines.premise import Premise
from oarlock_plugins.engines.traced import StepProgram

# Programs of one run, one for each set of shapes; a run with more makes the steps of the others eagerly.
MOST_PROGRAMS = 8
# Hooks between two steps, whose callbacks may change what a program holds.
MOMENTS = ("on_epoch_start", "on_evaluation_start", "evaluate", "on_evaluation_end", "on_epoch_end", "on_checkpoint")


def refusal(run: Any) -> str:
    """Why a run cannot be compiled, as far as that is known before its first batch; '' where it may."""
    reason = private.unavailable()
    if reason:
        return reason
    for path, component in run.components.items():
        if not getattr(type(component), "traceable", True):
            return f"{run.components_chosen[path]} says traceable = False"
    hooked = run.hook.after_backward.get_hookimpls()
    if hooked:
        return f"{hooked[0].plugin_name} reads gradients (after_backward)"
    if run.precision.enabled:
        return f"trainer.precision={run.config.trainer.precision.name} was not tried in a program"
    if run.device != "cpu" and run.config.trainer.engine.name == "auto":
        return f"on {run.device} it was not measured"
    optimizer = run.optimizer
    if not type(optimizer).step.__module__.startswith("paddle.optimizer.") or type(optimizer).__name__ == "LBFGS":
        return f"{type(optimizer).__name__} makes its steps in a way of its own"
    return ""


# A step's batches, which are held so that no others get their identity, its program, and what makes it.
Ready = tuple[Sequence[Batch], StepProgram, Callable[[], Any]]


class CompiledStep:
    """Makes each step by the program for its shapes.

    Attributes:
        run: the run.
        place: where it computes.
        maker: makes its programs.
        draws: whether a step may draw random numbers; a program was seen to, or not.

    Args:
        run: the run, built.
        required: whether to fail where a step would have to be eager.
    """

    def __init__(self, run: Any, required: bool) -> None:
        import paddle

        self.run, self._required = run, required
        self._eager = build_eager_step(run)
        self.place = paddle.framework._current_expected_place()
        self._programs: dict[Any, StepProgram | None] = {}
        self._whole: Batch | None = None
        self.maker = Maker(run, self.place, self._eagerly)
        # What was found for rows of `_whole`, by their identity.
        self._ready: dict[Any, Ready] = {}
        self._decided = ""
        self._watched = False
        # What the programs hold of Python's part of the run, where a callback may change it.
        self._premise: Premise | None = None
        self._pauses = 0
        self.draws = True

    @property
    def keeps_batches(self) -> bool:
        """Whether somebody may hold on to a batch after its step, as a model of Python can.

        Not where runs like this one were compiled before: should it be eager after all, it gets batches of its own.
        """
        return self._decided != "compiled" and not self.maker.foreseen and self._premise is None

    def __call__(self, batches: Sequence[Batch]) -> Any:
        key = id(batches[0]) if len(batches) == 1 else tuple(map(id, batches))
        ready = self._ready.get(key)
        if ready is None:
            ready = self._prepared(key, batches)
            if ready is None:
                return self.beside(lambda: self._eagerly(batches))
        _, program, step = ready
        if self._pauses != self.run.pauses or self._watched:
            if not self.stands():
                return self._eagerly(batches)
            if self._pauses != self.run.pauses or not program.linked():
                self._link()
        return step()

    def stands(self, evaluating: bool = False) -> bool:
        """Whether a program still makes what eager would; where a callback has changed what it holds, all is eager from now on.

        Args:
            evaluating: whether the program is one of an evaluation.

        Raises:
            UserError: the run was to be compiled.
        """
        if self._decided != "compiled" or self._premise is None or self._premise.stands(evaluating):
            return self._decided != "eager"
        changed = ", ".join(sorted(self._premise.changes(evaluating))[:3])
        self._refuse(f"a callback has changed {changed}, which a program froze")
        self._decided, self.draws = "eager", True
        self._programs = dict.fromkeys(self._programs)
        self._ready.clear()
        self.run.recorded_engine = ""  # a resumed run changes at the same step
        self.run.use_engine("eager", f"from step {self.run.step + 1} on, since a callback has changed {changed}")
        self._seed()
        return False

    def beside(self, eager: Callable[[], Any], evaluating: bool = False) -> Any:
        """What Python makes in a run of programs; what it changes by that is no callback's doing."""
        stands, made = self.stands(evaluating), eager()
        if stands and self._premise is not None:
            self._premise = Premise(self.run, self._premise)
        return made

    def _seed(self) -> None:
        """Seed the generator for this step, which the loop did not where no step had drawn so far."""
        if self.run.seeded_step != self.run.step:
            self.run.seed_step()

    def _refuse(self, reason: str) -> None:
        """Fail with the reason why steps would be eager, where they must not be."""
        if self._required:
            raise UserError(
                f"trainer.engine=compiled: {reason}.\nChoose trainer.engine=auto to train such runs eagerly."
            )

    def _eagerly(self, batches: Sequence[Batch]) -> Any:
        """The step of the core, whose model may keep what it is given."""
        return self._eager(batches if self.keeps_batches else own(batches))

    def _prepared(self, key: Any, batches: Sequence[Batch]) -> Ready | None:
        """What makes a step, kept by the key where it may come again; None where it is to be eager."""
        first: Any = batches[0]
        rows = type(first) is Rows
        if rows and first.whole is not self._whole:
            self._whole = first.whole
            self._ready.clear()
        program = self._program(tuple(one.size for one in batches) if rows else shapes(batches), batches)
        if program is None:
            return None
        ready = tuple(batches), program, program.step_of(batches)
        if rows:
            self._ready[key] = ready
        return ready

    def _program(self, key: Any, batches: Sequence[Batch]) -> StepProgram | None:
        """The program for batches of these shapes; None where they are trained eagerly."""
        program = self._programs.get(key)
        if program is None and key not in self._programs:
            program = self._add(key, batches)
        return program

    def _link(self) -> None:
        """Have all programs work on the live tensors, to which somebody may have given other storage."""
        self._pauses = self.run.pauses
        for program in self._programs.values():
            if program is not None and not program.linked():
                program.relink()

    def _add(self, key: Any, batches: Sequence[Batch]) -> StepProgram | None:
        """A program for these shapes, tried; None where such steps are to be eager."""
        import paddle

        if self._decided == "eager" or len(self._programs) >= MOST_PROGRAMS:
            return None
        state = paddle.get_rng_state()  # the batch may have drawn from it
        program, reason = self.maker.make(batches)
        paddle.set_rng_state(state)
        if program is not None and self.run.recorded_engine == "eager" and not self._decided:
            program, reason = None, "it was made so before it was resumed"
        if program is None:
            self._refuse(reason)
        if not self._decided:
            self._decided = "eager" if program is None else "compiled"
            self.run.use_engine(self._decided, reason)
            # Whether the weights got other storage is looked at before each step, unless no hook that is called in
            # between can have given it to them.
            self._watched = may_touch(self.run, "on_step_end")
            if program is not None and any(may_touch(self.run, moment) for moment in ("on_step_end", *MOMENTS)):
                self._premise = Premise(self.run)
        elif program is None:
            warn(f"engine: steps with {' + '.join(str(batch.size) for batch in batches)} rows are eager: {reason}")
        self._programs[key] = program
        self.draws = any(one is None or one.draws for one in self._programs.values())
        self._seed()
        self.run.pauses += 1  # that, and tensors of the programs before this one may have moved
        if len(self._programs) == MOST_PROGRAMS:
            self.draws = True
            warn(f"engine: steps with shapes beyond the first {MOST_PROGRAMS} are eager")
        return program
