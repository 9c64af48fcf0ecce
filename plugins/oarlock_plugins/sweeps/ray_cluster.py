"""A Ray cluster: one that is there already, or one on this machine for the time of a sweep; and what fits into it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from oarlock import RunFailed, UserError
from oarlock_plugins.sweeps.processes import processes_of
from oarlock_plugins.sweeps.slots import cores

# So long an address may take to answer, and a cluster on this machine to leave.
ANSWER_SECONDS = 5.0
LEAVE_SECONDS = 5.0
# How a client of gRPC, which Ray is spoken with, begins: HTTP/2's preface (RFC 9113, 3.4), then an empty SETTINGS frame.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
SETTINGS = 4
# Trials send nothing through Ray's shared memory; this is about the least that it accepts.
OBJECT_STORE = 100 * 2**20
# What Ray names by options of its own.
BUILT_IN = {"CPU": "num_cpus", "GPU": "num_gpus"}


@dataclass(frozen=True)
class Demand:
    """What each trial asks of a node.

    Attributes:
        num_cpus: cores, which also are the threads that a trial computes with.
        num_gpus: GPUs; below one, trials share a GPU.
        resources: any others that nodes of the cluster were started with.
    """

    num_cpus: float
    num_gpus: float
    resources: Mapping[str, float]

    @property
    def amounts(self) -> dict[str, float]:
        """As Ray counts them."""
        asked = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}
        return {name: amount for name, amount in asked.items() if amount > 0}

    def check(self) -> None:
        """See that Ray accepts the numbers.

        Raises:
            UserError: it would not.
        """
        if not self.num_cpus > 0:
            raise UserError(f"hydra.launcher.num_cpus={self.num_cpus:g}: expected more than 0")
        if not (0 <= self.num_gpus <= 1 or self.num_gpus % 1 == 0 < self.num_gpus):
            raise UserError(
                f"hydra.launcher.num_gpus={self.num_gpus:g}: expected 0, a part of one such as 0.5, or a whole number"
            )
        if not isinstance(self.resources, Mapping):
            raise UserError(f"hydra.launcher.resources={self.resources}: expected names with amounts: {{special: 1}}")
        for name, amount in self.resources.items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise UserError(f"hydra.launcher.resources.{name}={amount}: expected a number")
            if name.upper() in BUILT_IN:
                raise UserError(f"hydra.launcher.resources.{name}={amount:g}: write hydra.launcher."
                                f"{BUILT_IN[name.upper()]}={amount:g}")  # fmt: skip
            if name in ("memory", "object_store_memory") or not amount > 0:
                expected = "more than 0" if amount <= 0 else "a resource that nodes were started with"
                raise UserError(f"hydra.launcher.resources.{name}={amount:g}: expected {expected}")

    def places(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """How many trials fit at once.

        Args:
            nodes: the resources of each.

        Raises:
            UserError: none ever would.
        """
        found = sum(
            min(int(node.get(name, 0) / amount + 1e-6) for name, amount in self.amounts.items()) for node in nodes
        )
        if not found:
            lacking = (
                name for name, amount in self.amounts.items() if all(node.get(name, 0) < amount for node in nodes)
            )
            name = next(lacking, None)
            asked = _option(name, self.amounts[name]) if name else ", ".join(map(_option, *zip(*self.amounts.items())))  # noqa: B905
            have = "; ".join(sorted(_described(node) for node in nodes)) or "nothing"
            raise UserError(f"{asked}: no node of the Ray cluster has that for one trial.\n"
                            f"Its {len(nodes)} node{'s have' if len(nodes) != 1 else ' has'}: {have}")  # fmt: skip
        return found


def _option(name: str, amount: float) -> str:
    return f"hydra.launcher.{BUILT_IN.get(name, f'resources.{name}')}={amount:g}"


def _described(node: Mapping[str, float]) -> str:
    hidden = ("node:", "memory", "object_store_memory", "accelerator_type:")
    return ", ".join(
        f"{amount:g} {name}" for name, amount in sorted(node.items()) if amount and not name.startswith(hidden)
    )


def require_ray() -> None:
    """See that Ray is installed, without importing it.

    Raises:
        UserError: it is not.
    """
    if "ray" not in sys.modules and importlib.util.find_spec("ray") is None:
        raise UserError("Ray is not installed: pip install 'oarlock[ray]'.")


def import_ray() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("ray")


class Cluster:
    """A cluster that this process is connected with until it is closed.

    Args:
        address: of one that is there, or `auto` for the one that this machine is part of; None to start one here.
        gpus: of a cluster that is started, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        UserError: nobody answers at the address.
        RunFailed: none can be started.
    """

    def __init__(self, address: str | None, gpus: Sequence[str] = ()) -> None:
        self._keeper: subprocess.Popen[str] | None = None
        if address is None:
            if "ray" not in sys.modules:
                # Who can talk to Ray can run anything, and this cluster is ours alone. Ray reads it when imported.
                os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
            address = self._start(len(gpus))
        else:
            address = check_address(address)
        try:
            _connect(address)
        except Exception as error:
            self.close()
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"hydra.launcher.address={address}: no Ray cluster can be used there.\n{said[0]}"
            ) from error

    def _start(self, gpus: int) -> str:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        arguments = {"num_cpus": cores(), "num_gpus": gpus}
        # In a session of its own: Ctrl-C is for the sweep, and what Ray leaves can be told from what is not Ray's.
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", f"from oarlock_plugins.sweeps.ray_cluster import keep; keep({arguments})"],
            env={"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", **os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        answer = json.loads(self._keeper.stdout.readline() or '{"error": "it ended at once"}')
        if "error" in answer:
            self.close()
            raise RunFailed(f"a Ray cluster cannot be started here: {answer['error']}")
        return str(answer["address"])

    @property
    def nodes(self) -> list[dict[str, float]]:
        """The resources of each node that is alive."""
        return [node["Resources"] for node in import_ray().nodes() if node["Alive"]]

    def close(self) -> None:
        """Leave it; one that was started here ends."""
        import_ray().shutdown()
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait()


def check_address(address: str) -> str:
    """See that somebody answers as Ray does, since Ray itself would try for minutes; returns HOST:PORT.

    Raises:
        UserError: nobody does.
    """
    found = _recorded() if address == "auto" else address
    shown = address if found == address else f"{address} ({found})"
    host, _, port = found.rpartition(":")
    if not host or not port.isdigit() or "/" in found:
        raise UserError(f"hydra.launcher.address={shown}: expected HOST:PORT, or auto.\n"
                        "The sweep itself must run on a node of the cluster.")  # fmt: skip
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as line:
            line.sendall(GREETING)
            encrypted = os.environ.get("RAY_USE_TLS", "0") != "0"
            if not encrypted and line.recv(9, socket.MSG_WAITALL)[3:4] != bytes([SETTINGS]):
                raise OSError("it is no Ray cluster")
    except (OSError, OverflowError) as error:
        raise UserError(f"hydra.launcher.address={shown}: nobody answers there: {error}.\n"
                        "'ray start --head' prints the address of a cluster; without one the sweep starts its own."
                        ) from error  # fmt: skip
    return found


def _recorded() -> str:
    """What Ray takes `auto` for: what the environment says, or the last `ray start`, which may be long gone."""
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    try:
        return Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster").read_text("utf-8").strip()
    except OSError as error:
        raise UserError("hydra.launcher.address=auto: this machine is part of no Ray cluster.\n"
                        "'ray start' makes it part of one; without an address the sweep starts its own."
                        ) from error  # fmt: skip


def keep(arguments: dict[str, Any]) -> None:
    """Be a cluster until standard input ends, then leave nothing of it: the driver may have been killed."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _connect("local", include_dashboard=False, object_store_memory=OBJECT_STORE, **arguments)
        answer = {"address": import_ray().get_runtime_context().gcs_address}
    except Exception as error:
        answer = {"error": str(error).strip().partition("\n")[0]}
    print(json.dumps(answer), flush=True)
    sys.stdin.read()
    signal.signal(signal.SIGALRM, lambda *_: _end_session())
    signal.setitimer(signal.ITIMER_REAL, LEAVE_SECONDS)
    import_ray().shutdown()
    _end_session()


def _end_session() -> None:
    """Ray's agents would stay for a minute, and what workers have started for longer."""
    for pid in sorted(processes_of(os.getsid(0)), key=lambda pid: pid == os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _connect(address: str, **options: Any) -> None:
    with _undisturbed():
        import_ray().init(
            address=address, log_to_driver=False, configure_logging=False, logging_level="error", **options
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ray takes SIGTERM, and writes a line a second to the terminal while nobody answers; both are not its own."""
    handler, terminal = signal.getsignal(signal.SIGTERM), os.dup(2)
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        signal.signal(signal.SIGTERM, handler)
