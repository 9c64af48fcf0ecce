"""NumPy's files, as arrays that hold nothing but numbers or texts."""

from __future__ import annotations

from oarlock import UserError, nearest
from oarlock_plugins.data.no_rows import NoRows


def read_npz(path, names, option):
    """Arrays of an .npz file by name, each with a row for a row of the others.

    Args:
        path: the file.
        names: of the arrays.
        option: what was typed for it, `data.path`.

    Raises:
        UserError: there is no such file or array, it is damaged, holds Python objects, or its rows do not match.
    """
    import numpy as np

    try:
        # Opened here, since NumPy leaves a file open that is no archive after all.
        with open(path, "rb") as file:
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise UserError(f"{option}={path}: expected an .npz file with {', '.join(names)}; it is one array.")
            for name in names:
                if name not in stored.files:
                    raise UserError(f"{option}={path}: it has no array '{name}'. {nearest(name, stored.files)}")
            arrays = {name: stored[name] for name in names}
    except FileNotFoundError as error:
        raise UserError(f"{option}={path}: there is no such file.") from error
    except UserError:
        raise
    except Exception as error:  # whatever NumPy and zipfile raise about a file that is damaged, or holds Python objects
        raise UserError(f"{option}={path}: not a readable .npz file of numbers: {first_line(error)}") from error
    return {name: _numbers(array, f"{option}={path}: {name}") for name, array in arrays.items()}


def read_npy(path, option):
    """The array of an .npy file.

    Raises:
        UserError: there is no such file, it is damaged or holds Python objects.
    """
    import numpy as np

    try:
        with open(path, "rb") as file:
            array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise UserError(f"{option}={path}: expected an .npy file; it holds several arrays. Give it as data.path.")
    except FileNotFoundError as error:
        raise UserError(f"{option}={path}: there is no such file.") from error
    except UserError:
        raise
    except Exception as error:  # whatever NumPy and zipfile raise about a file that is damaged, or holds Python objects
        raise UserError(f"{option}={path}: not a readable .npy file of numbers: {first_line(error)}") from error
    return _numbers(array, f"{option}={path}")


def _numbers(array, where):
    """The array, in single precision where it was in double, if it has rows and every number is finite."""
    import numpy as np

    if array.ndim == 0 or len(array) == 0:
        raise NoRows(f"{where}: it has no rows; its shape is {list(array.shape)}.")
    if array.dtype.kind not in "biufUS":
        raise UserError(f"{where}: it is of type {array.dtype}; expected numbers.")
    if array.dtype.kind == "f":
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            raise UserError(f"{where}: row {int(np.argmin(finite))} has a value that is not finite.\n"
                            "Rows are counted from 0. Fill or drop them before.")  # fmt: skip
        if array.dtype.itemsize != 4:
            with np.errstate(over="ignore"):
                array = array.astype("float32")
            if not np.isfinite(array).all():
                raise UserError(f"{where}: it has values beyond single precision.")
    return array


def first_line(error):
    """What an exception says, as one short line."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return (said.splitlines() or [type(error).__name__])[0][:200]
