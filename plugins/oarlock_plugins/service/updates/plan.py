"""From the run of the live version to the experiment that an update trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from oarlock import Experiment, UserError, vary_experiment

DATA = "data/update"
FROZEN = "frozen_batch_norm"
# A first update goes on from where the run ended: not far, and not for long.
EPOCHS, RATE = 5, 0.3


def is_update(experiment: Experiment) -> bool:
    """Whether a run was made by an update."""
    return experiment.components["data"] == DATA


def planned(
    live: Experiment, source: Path, rows: Sequence[Path], replay: float, seed: int, count: int, frozen: bool,
    overrides: Sequence[str],
) -> Experiment:  # fmt: skip
    """What to train.

    Args:
        live: what the live version was made of.
        source: its run, from whose weights to start.
        rows: the files of the rows that updates brought, the newest last.
        replay, seed: the share of the rows of before that is mixed in, and the seed that they are drawn with.
        count: how many rows there will be.
        frozen: whether BatchNorm keeps its statistics.
        overrides: of the user.

    Raises:
        UserError: an override is not valid.
    """
    values, components = copy.deepcopy(live.values), dict(live.components)
    first = not is_update(live)
    base = values["data"] if first else values["data"]["base"]
    if first:
        inner = {f"data.base{path.removeprefix('data')}": name for path, name in components.items()
                 if path == "data" or path.startswith("data.")}  # fmt: skip
        rest = {path: name for path, name in components.items() if path.partition(".")[0] != "data"}
        components = {"data": DATA, **inner, **rest}
        values["trainer"] |= {"epochs": EPOCHS, "max_steps": None}
        if isinstance(values["optimizer"].get("learning_rate"), float):
            values["optimizer"]["learning_rate"] *= RATE
    *earlier, newest = map(str, rows)
    # An epoch of few rows would not have one whole batch; the next update may have more.
    wanted = (None if first else values["data"].get("batch_size")) or values["trainer"]["batch_size"]
    values["trainer"]["batch_size"] = min(wanted, count)
    given = any(override.lstrip("+").startswith("trainer.batch_size=") for override in overrides)
    values["data"] = {"base": base, "rows": newest, "earlier": earlier, "replay": replay, "replay_seed": seed,
                      "batch_size": wanted if wanted > count and not given else None}  # fmt: skip
    values["trainer"]["init_from"] = str(source)
    callbacks = {name: options for name, options in (values.get("callback") or {}).items() if name != FROZEN}
    components.pop(f"callback.{FROZEN}", None)
    if frozen:
        callbacks[FROZEN] = {}
        components[f"callback.{FROZEN}"] = f"callback/{FROZEN}"
    values["callback"] = callbacks
    return vary_experiment(Experiment(values, components, [], live.flags), overrides)


def of_live(live: Experiment, overrides: Sequence[str], rows: Sequence[Path]) -> list[str]:
    """What the live version's run must be loaded with: where its data is now.

    Args:
        live: what it was made of.
        overrides: of the user; those of `data.base` are about it too.
        rows: the files of rows that it was trained on, where they are now.

    Raises:
        UserError: an override would take other data than an update's.
    """
    found = []
    for override in overrides:
        key = override.partition("=")[0]
        if key == "data" or (key.startswith("data.") and not key.startswith(("data.base.", "data.replay_seed"))):
            raise UserError(f"{override}: the data of an update is what --data and --replay say; where the data of the "
                            "first run is now, say with data.base.….")  # fmt: skip
        if key.startswith("data.base."):
            found.append(override if is_update(live) else override.replace("data.base.", "data.", 1))
    if rows:
        *earlier, newest = map(str, rows)
        recorded = live.values["data"]
        if [newest, *earlier] != [recorded["rows"], *recorded["earlier"]]:
            found += [f"data.rows={_quoted(newest)}", f"data.earlier=[{','.join(map(_quoted, earlier))}]"]
    return found


def _quoted(text: str) -> str:
    """A path as an override can hold it, whatever is in it."""
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"
