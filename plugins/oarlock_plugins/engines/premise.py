"""What of Python a step may depend on or change: attributes of layers and components, what is in them, and generators."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable
from itertools import chain
from operator import is_
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import paddle

PLAIN = (bool, int, float, complex, str, bytes, type(None))
GATHERING = (dict, list, set, deque)
# Of a longer list, dict or set only the length is looked at.
MOST_ITEMS = 1_000
# Numbers of a tensor that is put back, or of an array that is looked at.
LARGEST = 1 << 20
# How far into an attribute: what an object has that is in a list of the attribute is 3.
DEEPEST = 4
# What Paddle changes between steps: whether a layer was called before, and the rate, which a program is fed with. The modes
# are looked at apart, since in an evaluation all layers are in another.
MOVING = {"_built", "_learning_rate", "training"}
# Of more than so many containers the others are not looked at.
MOST_HELD = 10_000
# Where a layer has its own; nobody says their names.
PARTS = {"_parameters", "_buffers", "_sub_layers"}
# Hooks beside the moments that are no part of a step.
ASIDE = {"build_data", "build_metrics", "build_schedule", "build_step", "build_evaluation_step"}
# Libraries whose objects have caches and threads of their own, and hold nothing of an experiment's.
FOREIGN = {*sys.stdlib_module_names, "numpy", "paddle", "oarlock", "omegaconf", "pluggy"} - {"__main__"}


class Premise:
    """What is in Python's part of a run now.

    Components of which no step calls anything are left alone, callbacks for instance: what they have changes between the
    steps, and CPython 3.11 and 3.12 are slower with an object into whose `__dict__` somebody has looked.

    Args:
        run: the run whose layers, components and optimizers are looked at.
        before: what was looked at before, in the mode of steps; what there is now may be looked at in an evaluation.
    """

    def __init__(self, run: Any, before: Premise | None = None) -> None:
        self._seen: dict[int, Any] = {}
        # Each container with what it held; of a long one nothing but how much.
        self._held: list[tuple[str, Any, Any, int]] = []
        self._generators: list[tuple[str, Callable[[], Any], Callable[[Any], Any], Any]] = [
            ("NumPy's random generator", np.random.get_state, np.random.set_state, np.random.get_state()),
            ("Python's random generator", random.getstate, random.setstate, random.getstate()),
        ]
        # Tensors that are neither parameters nor buffers, of which no program knows whose they are.
        self._tensors: list[tuple[str, Any, int, Any]] = []
        # Arrays, of which a step may make tensors, each with its numbers.
        self._arrays: list[tuple[str, Any, Any]] = []
        self._paddle = paddle.get_rng_state()
        self._layers = [
            (f"model.{path}".rstrip("."), one) for path, one in run.model.named_sublayers(include_self=True)
        ]
        self._modes: list[bool] = before._modes if before is not None else [layer.training for _, layer in self._layers]
        roots = [*self._layers, *((path, one) for path, one in run.components.items() if _takes_part(run, one))]
        # Parameters and buffers are looked after by who makes the steps; what metrics gather is gathered in between.
        known = (*run.model.parameters(), *run.model.buffers(), *run.measures.values())
        self._seen |= {id(one): one for one in (*(one for _, one in roots), *known)}
        for name, one in roots:
            if hasattr(one, "__dict__"):
                self._gather(name, vars(one), 0)
        self._parameters = [(f"model.{path}", one) for path, one in run.model.named_parameters()]
        self._optimizers = [(f"optimizer {number}", vars(one)) for number, built in enumerate(run.optimizers)
                            for one in (built.optimizer, getattr(built.optimizer, "regularization", None)) if hasattr(one, "__dict__")]  # fmt: skip
        self._settings = self._set()
        few = [held for _, held, kept, _ in self._held if kept is not None]
        self._parts = [held.values() if isinstance(held, dict) else held for held in few]
        self._inside = list(chain.from_iterable(self._parts))
        self._long = [held for _, held, kept, _ in self._held if kept is None]
        self._lengths = [len(held) for held in self._long]

    def stands(self, evaluating: bool = False) -> bool:
        """Whether nothing of it has changed, which is told in a tenth of the time where nothing was touched.

        Args:
            evaluating: whether the layers are in the mode of an evaluation.
        """
        now = list(chain.from_iterable(self._parts))
        if len(now) == len(self._inside) and all(map(is_, now, self._inside)) and self._set() == self._settings:
            return [len(held) for held in self._long] == self._lengths and not self._written()
        return not self.changes(evaluating)

    def changes(self, evaluating: bool = False) -> list[str]:
        """What is another one now."""
        found = [one for name, held, kept, size in self._held for one in _differences(name, held, kept, size)]
        found += self._written()
        if not evaluating:
            modes = zip(self._layers, self._modes, strict=True)
            found += [f"{name}.training" for (name, layer), mode in modes if layer.training != mode]
        now = self._set()
        return found if now == self._settings else [*found, *_apart(self._named(now), self._named(self._settings))]

    def used(self) -> list[str]:
        """The generators that were drawn from, and the tensors that were changed where they are."""
        drawn = [name for name, read, _, kept in self._generators if not _same_state(read(), kept)]
        return drawn + [name for name, tensor, version, _ in self._tensors if tensor.inplace_version != version]

    def put_back(self) -> None:
        """Have layers, components, generators, tensors and the numbers of optimizers as they were."""
        for (_, own), kept, now in zip(self._optimizers, self._settings[1], self._set()[1], strict=True):
            for key in now.keys() - kept.keys():
                del own[key]
            own.update(kept)
        for _, held, kept, _ in self._held:
            if kept is not None:
                held.clear()
                held.extend(kept) if isinstance(held, (list, deque)) else held.update(kept)
        for _, _, write, kept in self._generators:
            write(kept)
        for _, tensor, version, kept in self._tensors:
            if tensor.inplace_version != version and kept is not None:
                tensor.set_value(kept)
        for _, array, kept in self._arrays:
            if array.tobytes() != kept:
                array[...] = np.frombuffer(kept, array.dtype).reshape(array.shape)
        paddle.set_rng_state(self._paddle)

    def _written(self) -> list[str]:
        """The arrays that have other numbers now."""
        return [name for name, array, kept in self._arrays if array.tobytes() != kept]

    def _set(self) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]]]:
        """How each parameter is trained, and the numbers of the optimizers."""
        trained = [(one.stop_gradient, one.need_clip, one.regularizer, one.optimize_attr.get("learning_rate"))
                   for _, one in self._parameters]  # fmt: skip
        numbers = [{key: value for key, value in own.items() if type(value) in PLAIN and key not in MOVING}
                   for _, own in self._optimizers]  # fmt: skip
        return trained, numbers

    def _named(self, settings: tuple[list[tuple[Any, ...]], list[dict[str, Any]]]) -> dict[str, Any]:
        names = ("stop_gradient", "need_clip", "regularizer", "optimize_attr")
        found = {f"{path}.{name}": value for (path, _), one in zip(self._parameters, settings[0], strict=True)
                 for name, value in zip(names, one, strict=True)}  # fmt: skip
        return found | {f"{name}.{key}": value for (name, _), own in zip(self._optimizers, settings[1], strict=True)
                        for key, value in own.items()}  # fmt: skip

    def _look(self, name: str, value: Any, depth: int) -> None:
        if type(value) in PLAIN or id(value) in self._seen or depth > DEEPEST or len(self._held) > MOST_HELD:
            return
        self._seen[id(value)] = value
        if isinstance(value, (*GATHERING, tuple, frozenset)):
            self._gather(name, value, depth)
        elif (generator := _generator(value)) is not None:
            self._generators.append((name, *generator, generator[0]()))
        elif isinstance(value, paddle.Tensor):
            kept = value.numpy().copy() if value.size <= LARGEST else None
            self._tensors.append((name, value, value.inplace_version, kept))
        elif isinstance(value, np.ndarray):
            if value.size <= LARGEST and not value.dtype.hasobject:
                self._arrays.append((name, value, value.tobytes()))
        elif not _is_foreign(value) and isinstance(getattr(value, "__dict__", None), dict):
            self._gather(name, vars(value), depth)

    def _gather(self, name: str, value: Any, depth: int) -> None:
        few = len(value) <= MOST_ITEMS
        if isinstance(value, GATHERING):
            kind = next(kind for kind in GATHERING if isinstance(value, kind))
            self._held.append((name, value, kind(value) if few else None, len(value)))
        if few:
            inside = [*value.items()] if isinstance(value, dict) else [("", one) for one in value]
            for key, one in inside:
                self._look(
                    f"{name}.{key}" if isinstance(key, str) and key and key not in PARTS else name, one, depth + 1
                )


def _takes_part(run: Any, component: Any) -> bool:
    """Whether a step may call a component's code; one without hooks may be another's part."""
    names = [caller.name for caller in run.manager.get_hookcallers(component) or ()]
    return not names or not all(name.startswith("on_") or name in ASIDE for name in names)


def _is_foreign(value: Any) -> bool:
    """Whether an object is none of an experiment's own."""
    if isinstance(value, (SimpleNamespace, paddle.nn.Layer)):
        return False
    return isinstance(value, (type, ModuleType, FunctionType)) or type(value).__module__.partition(".")[0] in FOREIGN


def _generator(value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """What reads and writes the state of a generator of random numbers; None of anything else."""
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    if isinstance(value, np.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, np.random.Generator):
        bits: Any = value.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    return None


def _differences(name: str, held: Any, kept: Any, size: int) -> list[str]:
    """What has changed in a container, by its name and the key."""
    if kept is not None and isinstance(held, dict):
        return [f"{name}.{key}" for key in _apart(held, kept) if key not in MOVING]
    if len(held) == size and (kept is None or (held == kept if isinstance(held, set) else all(map(_same, held, kept)))):
        return []
    return [name]


def _apart(one: dict[Any, Any], other: dict[Any, Any]) -> list[Any]:
    """The keys under which two dicts have something different."""
    missing = object()
    return [key for key in one.keys() | other.keys() if not _same(one.get(key, missing), other.get(key, missing))]


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) in PLAIN and type(one) is type(other) and one == other)


def _same_state(one: Any, other: Any) -> bool:
    """Whether two states of a generator are the same; those of NumPy have arrays in them."""
    if isinstance(one, dict):
        return all(_same_state(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same_state, one, other))
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)
