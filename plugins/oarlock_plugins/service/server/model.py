"""A model of the folder, and the version of it that answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from oarlock_plugins.service.bundle import Bundle
from oarlock_plugins.service.server.batching import Batcher
from oarlock_plugins.service.server.loading import BadVersion
from oarlock_plugins.service.server.metrics import ModelMetrics
from oarlock_plugins.service.server.protocol import Signature


@dataclass(eq=False)
class Live:
    """The version that answers.

    Attributes:
        older: the versions before it that may be served too, when its signature was compared with theirs.
    """

    number: int
    bundle: Bundle
    batcher: Batcher
    older: list[int]
    since: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.version = str(self.number)
        self.signature = Signature(self.bundle)


@dataclass(eq=False)
class Model:
    """A model of the folder.

    Attributes:
        live: None while no version can be served.
        versions: that are in the folder, withdrawn ones included.
        withdrawn: of them, with the reason.
        bad: of them, with what is wrong.
    """

    name: str
    metrics: ModelMetrics
    live: Live | None = None
    versions: list[int] = field(default_factory=list)
    withdrawn: dict[int, str] = field(default_factory=dict)
    bad: dict[int, BadVersion] = field(default_factory=dict)
