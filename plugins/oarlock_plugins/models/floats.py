"""Models that compute with floating-point numbers from their first layer on."""

from __future__ import annotations

from oarlock import UserError


def require_floats(spec, name):
    """Refuse data whose single input has no floating-point numbers.

    Args:
        spec: the `ModelSpec` of the data.
        name: the model's.

    Raises:
        UserError: it has other numbers; or it has several inputs.
    """
    spec.input_shape  # noqa: B018  # refuses several inputs
    if "float" not in spec.inputs.dtype:
        raise UserError(f"model={name} needs floating-point inputs; the data has {spec.inputs.dtype}.\n"
                        "data=arrays divides them by data.scale=255, or another number, which makes them so.")  # fmt: skip
