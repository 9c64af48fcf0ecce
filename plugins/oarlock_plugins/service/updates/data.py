"""The data of an update: what is new, and a part of what was there before."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Any, Optional

from oarlock import Arrays, UserError, component, hookimpl


@component
class UpdateData:
    """The rows of an update: new ones, and a share of those that the model was trained on before.

    `oarlock update` makes it. All but the training rows is that of `base`: hold-out, classes, preprocessing.

    Args:
        base: the data of the first run; chosen with +data@data.base=NAME.
        rows: the file of the new rows, as `oarlock update` keeps them.
        earlier: the files of the updates before, the oldest first.
        replay: share of the rows of before, those of `base` and of `earlier`, that is trained on again.
        replay_seed: the seed that they are drawn with.
        batch_size: what trainer.batch_size would be if there were as many rows; an update of this one has it again.
    """

    base: Any = None
    rows: str = "???"
    earlier: list[str] = field(default_factory=list)
    replay: float = 0.0
    replay_seed: int = 0
    batch_size: Optional[int] = None

    def __post_init__(self):
        if not 0 <= self.replay <= 1:
            raise ValueError(f"replay={self.replay}: expected 0 <= replay <= 1")

    @hookimpl
    def build_data(self):
        from oarlock_plugins.service.updates import rows, store

        if not hasattr(self.base, "build_data"):
            raise UserError("data=update: it needs the data of the first run; choose it with +data@data.base=NAME.")
        base = self.base.build_data()
        new = store.kept(Path(self.rows))
        if not self.replay:
            return replace(base, train=new)
        if not isinstance(base.train, Arrays):
            raise UserError(f"data.replay={self.replay:g}: the training rows of the first run are not in memory, so none "
                            "can be drawn; choose data.replay=0.")  # fmt: skip
        before = rows.joined([base.train, *(store.kept(Path(path)) for path in self.earlier)])
        return replace(base, train=rows.joined([new, rows.drawn(before, self.replay, self.replay_seed)]))
