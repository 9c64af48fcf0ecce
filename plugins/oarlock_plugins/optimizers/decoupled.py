"""Weight decay apart from the gradient: which parameters an optimizer of that kind decays."""

from __future__ import annotations

from oarlock import decays


def claimed(model, weight_decay):
    """The parameters of a model that such an optimizer claims; without a decay it claims none."""
    return [parameter for parameter in model.parameters() if decays(parameter)] if weight_decay else []


def decaying(parameters):
    """The names of those that decay, of parameters or of parameter groups."""
    flat = [p for group in parameters for p in (group["params"] if isinstance(group, dict) else [group])]
    return {parameter.name for parameter in flat if decays(parameter)}
