"""The engine that makes a training step one program, and says where it cannot."""

from __future__ import annotations

from typing import Any

from oarlock import UserError, component, hookimpl


@component
class Static:
    """Compiles the whole training step into one static program, and runs it without Paddle's overhead of each operator.

    The first step with each shape is traced and tried against eager steps. What cannot be compiled, or comes out
    otherwise, is trained eagerly, and the run says so; with trainer.engine=compiled it fails instead. `trainer.engine`
    is how to choose. On a GPU, trainer.engine=auto is eager: there it has not been measured.
    """

    @hookimpl
    def build_step(self, run: Any) -> Any:
        from oarlock_plugins.engines.step import CompiledStep, refusal

        required = run.config.trainer.engine.name == "compiled"
        reason = refusal(run)
        if reason and required:
            raise UserError(
                f"trainer.engine=compiled: {reason}.\nChoose trainer.engine=auto to train such runs eagerly."
            )
        if reason:
            self._step = None
            run.use_engine("eager", reason)
            return None
        self._step = CompiledStep(run, required)
        return self._step

    @hookimpl
    def build_evaluation_step(self, run: Any) -> Any:
        from oarlock_plugins.engines.evaluation import CompiledEvaluation

        return CompiledEvaluation(self._step) if self._step is not None else None
