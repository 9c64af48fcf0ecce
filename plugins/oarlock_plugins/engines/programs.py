"""A static program over a run's live tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from oarlock import Batch, each
from oarlock_plugins.engines import peephole, placement, private, rewriting
from oarlock_plugins.engines.flat import FlatMemory, Group, merge_updates, places
from oarlock_plugins.engines.identity import Tried

# Intermediate results that stay allocated between steps, in bytes; of a larger program they are freed as in eager.
MOST_KEPT = 64 << 20


class Untraceable(Exception):
    """The step cannot be one program; says why."""


class Program:
    """A traced program with what it reads, changes and returns.

    Attributes:
        tried: the runs that it was tried with.

    Args:
        place: where it computes.
        batches: what it is called with: their shapes are the program's.
    """

    def __init__(self, place: Any, batches: Sequence[Batch]) -> None:
        import paddle

        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        self.scope = paddle.static.Scope()
        self.tried = Tried()
        self._place = place
        self._names: list[str] = []
        self._shared: dict[str, Any] = {}
        self._homes: dict[str, Home] = {}
        self._memory: FlatMemory | None = None
        self._groups: list[Group] = []
        self._wide: list[str] = []
        self._shapes = [leaf for batch in batches for leaf in leaves(batch)]

    def placeholders(self, batches: Sequence[Batch]) -> list[Batch]:
        """The batches as variables of the program."""
        import paddle

        def variable(leaf: Any) -> Any:
            self._names.append(f"oarlock_feed_{len(self._names)}")
            return paddle.static.data(self._names[-1], list(leaf.shape), str(leaf.dtype).removeprefix("paddle."))

        return [Batch(each(batch.inputs, variable), each(batch.targets, variable)) for batch in batches]

    def finish(self, shared: dict[str, Any], results: Sequence[Any], memory: FlatMemory | None = None) -> None:
        """Make it ready to run.

        Args:
            shared: the live tensors by the names of the variables that are theirs.
            results: what it returns.
            memory: what live tensors may be moved to, so that one operator updates many of them; None where none may be moved.
        """
        import paddle

        if self.startup.global_block().ops:
            paddle.enable_static()
            try:
                with paddle.static.scope_guard(self.scope):
                    paddle.static.Executor(self._place).run(self.startup)
            finally:
                paddle.disable_static()
        for name in [name for name, tensor in shared.items() if not tensor._is_initialized()]:
            # A buffer without numbers, as Paddle's LSTM has one; the program's own is as empty.
            self.scope.var(name).get_tensor()
            del shared[name]
        self._shared = shared
        keep = _bytes(self.main) < MOST_KEPT
        with rewriting.held(self.main, results) as present:
            rewriting.drop_duplicates(self.main)
            if isinstance(self._place, paddle.CPUPlace):  # elsewhere nothing of it was tried
                for name, value in peephole.rewrite(self.main).items():
                    self.scope.var(name).get_tensor().set(value, self._place)
                if keep and memory is not None:
                    self._memory = memory
                    self._groups = merge_updates(self.main, lambda members: _fit(memory, members, shared))
                if memory is not None:
                    grouped = {name for group in self._groups for names in group.members for name in names}
                    self._wide = [one for one in placement.wide_weights(self.main) if one in shared.keys() - grouped]
        self.relink()
        # The memory of all gradients is the program's. It must be there before the executor is made, theirs after it.
        wholes = [paddle.zeros([places(group.sizes)[1]], shared[group.members[0][0]].dtype) for group in self._groups]
        for group, whole in zip(self._groups, wholes, strict=True):
            private.share(self.scope, group.gradient, whole)
        self._run = private.Direct(self.main, self.scope, self._place, self._names, present, keep)
        self._lay_gradients(wholes)

    @property
    def tensors(self) -> Iterable[Any]:
        """The live tensors that it reads or changes."""
        return self._shared.values()

    def remember(self, run: Any) -> bool:
        """Note where in the run each of the shared tensors is, so that another run like it can take the program over.

        Returns:
            False where one of them is in no place that is known, as a tensor that a component holds.
        """
        homes = {id(tensor): home for home, tensor in tensors_by_home(run).items()}
        if not all(id(tensor) in homes for tensor in self._shared.values()):
            return False
        self._homes = {name: homes[id(tensor)] for name, tensor in self._shared.items()}
        return True

    def adopt(self, run: Any, memory: FlatMemory | None = None) -> bool:
        """Have the program work on another run's tensors; False where that has not the same ones.

        Args:
            run: the run.
            memory: as of `finish`.
        """
        tensors = tensors_by_home(run)
        if not all(
            home in tensors and tensors[home].shape == self._shared[name].shape
            and tensors[home].dtype == self._shared[name].dtype for name, home in self._homes.items()
        ):  # fmt: skip
            return False
        shared = {name: tensors[home] for name, home in self._homes.items()}
        if not all(memory is not None and _fit(memory, group.members, shared) for group in self._groups):
            return False
        self._memory, self._shared = memory, shared
        self.relink()
        return True

    def relink(self) -> None:
        """Have the program's variables be the live tensors again, where those were given other storage."""
        for group in self._groups:
            assert self._memory is not None
            for whole, names in zip(group.wholes, zip(*group.members, strict=True), strict=True):
                private.share(self.scope, whole, self._memory.whole([self._shared[name] for name in names]))
        for name in self._wide:
            placement.lay_beside(self._shared[name])
        for name, tensor in self._shared.items():
            private.share(self.scope, name, tensor)
        self._places = [tensor.data_ptr for tensor in self._shared.values()]
        self._linked = [place() for place in self._places]

    def linked(self) -> bool:
        """Whether no live tensor was given other storage since."""
        return [place() for place in self._places] == self._linked

    def _lay_gradients(self, wholes: Sequence[Any]) -> None:
        """Have the gradients of merged updates lie where the one operator looks for them."""
        self._gradients: list[tuple[Any, int]] = []
        for group, whole in zip(self._groups, wholes, strict=True):
            for name, start, (parameter, *_) in zip(
                group.gradients, places(group.sizes)[0], group.members, strict=True
            ):
                own = self.scope.find_var(name).get_tensor()
                private.lay(own, private.storage(whole), start, self._shared[parameter].shape)
                self._gradients.append((own, own._ptr()))

    def displaced(self) -> bool:
        """Whether an operator has put a gradient elsewhere, so that the program cannot be used."""
        return any(own._ptr() != place for own, place in self._gradients)

    def feeds(self, storages: Sequence[Any]) -> list[Any]:
        """What the program is called with, made of what holds the numbers of its batches."""
        return self._run.feeds(storages)

    def __call__(self, feeds: Sequence[Any]) -> list[Any]:
        return self._run(feeds)


# A tensor's place in a run: a parameter's or a buffer's path, or an optimizer's accumulator and the parameter's path.
Home = tuple[str, ...]


def tensors_by_home(run: Any) -> dict[Home, Any]:
    """The tensors of a run that a step may change or read, by their place in it."""
    found: dict[Home, Any] = {}
    paths = {}
    for path, tensor in (*run.model.named_parameters(), *run.model.named_buffers()):
        found["model", path] = tensor
        paths[tensor.name] = path
    for number, built in enumerate(run.optimizers):
        for accumulator, by_parameter in built.optimizer._accumulators.items():
            for name, tensor in by_parameter.items():
                found[f"optimizer {number}", accumulator, paths.get(name, name)] = tensor
    return found


def _fit(memory: FlatMemory, members: Sequence[tuple[str, ...]], tensors: dict[str, Any]) -> bool:
    """Whether the memory may hold these side by side."""
    return all(memory.fits([tensors[name] for name in names]) for names in zip(*members, strict=True))


def leaves(batch: Batch) -> list[Any]:
    """The tensors of a batch, in the order of their names."""
    found: list[Any] = []
    each(batch.inputs, found.append)
    each(batch.targets, found.append)
    return found


def _bytes(program: Any) -> int:
    """The size of all results of a program's operators."""
    total = 0
    for op in program.global_block().ops:
        for result in op.results():
            if result.initialized() and result.is_dense_tensor_type():
                size = 4
                for length in result.shape:
                    size *= max(int(length), 1)
                total += size
    return total
