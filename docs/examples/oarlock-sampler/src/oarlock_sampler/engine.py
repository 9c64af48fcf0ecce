"""An engine: the ordinary training step, made in another way."""

from __future__ import annotations

from oarlock import Batch, UserError, component, hookimpl


@component
class StaticLoss:
    """Trace forward and loss into one program (paddle.jit.to_static); backward and update stay eager."""

    @hookimpl
    def build_step(self, run):
        import paddle

        if run.precision.enabled or run.grad_clips or run.config.trainer.accumulate_steps > 1:
            raise UserError("engine=static_loss knows no mixed precision, clips or accumulation. Leave the engine out.")
        if run.flat("compute_penalty", "model") or run.flat("after_backward", "run"):
            raise UserError("engine=static_loss knows no penalties and no hooks on gradients. Leave the engine out.")

        class Loss(paddle.nn.Layer):
            def __init__(self):
                super().__init__()
                self.model = run.model

            def forward(self, inputs, targets):
                batch = Batch(inputs, targets)
                return run.compute_loss(run.forward(self.model, batch), batch)

        loss_of = paddle.jit.to_static(Loss())

        def step(batches):
            # Tensors: Paddle's tracing cannot follow what cuts a batch out of its epoch.
            loss = loss_of(batches[0].inputs, batches[0].targets)
            loss.backward()
            run.optimizer.step()
            run.optimizer.clear_grad()
            return loss.detach()

        return step
