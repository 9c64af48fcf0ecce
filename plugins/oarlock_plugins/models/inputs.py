"""What models need of their input, for those that compute with floating-point numbers from their first layer on."""

from __future__ import annotations

from oarlock import InputSpec, UserError


def require_floats(spec, name):
    """Refuse data whose single input has other numbers than floating-point ones, or a number a row and no axis.

    Args:
        spec: the `ModelSpec` of the data.
        name: the model's.

    Raises:
        UserError: the input is such a one.
    """
    if isinstance(spec.inputs, InputSpec) and "float" not in spec.inputs.dtype:
        raise UserError(f"model={name} needs floating-point inputs; the data has {spec.inputs.dtype}.\n"
                        "data=arrays divides them by data.scale=255, or another number, which makes them so.")  # fmt: skip
    if isinstance(spec.inputs, InputSpec) and not spec.inputs.shape:
        raise UserError(f"model={name} needs inputs of shape [rows, values]; the data has [rows].\n"
                        "Give each row an axis: inputs.reshape(-1, 1).")  # fmt: skip


def require_images(spec, name, least):
    """The channels, height and width of images of floating-point numbers.

    Raises:
        UserError: the data has something else, or they are smaller than `least` x `least`.
    """
    require_floats(spec, name)
    shape = list(spec.input_shape)
    if len(shape) != 3 or min(shape[1:]) < least:
        what = f"{shape}, without channels" if len(shape) == 2 else f"{shape}"
        raise UserError(
            f"model={name} needs images [channels, height, width] of at least {least} x {least}; "
            f"the data has {what}. Try model=bn_mlp."
        )
    return shape
