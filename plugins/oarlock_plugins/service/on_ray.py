"""`oarlock serve --on ray`: replicas of the same application on a Ray cluster, behind Ray Serve's proxy."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from oarlock import Exit, RunFailed, UserError, shown_path, stop_signals

if TYPE_CHECKING:
    from oarlock_plugins.service.server.settings import Settings

APPLICATION = "oarlock"
# Ray's own default of 5 would keep requests from a replica that computes them in one batch.
ONGOING = 256


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `oarlock serve` that are about where it runs."""
    options = parser.add_argument_group("on a Ray cluster")
    options.add_argument(
        "--on", choices=("here", "ray"), default="here", help="this process, or Ray Serve (%(default)s)"
    )
    options.add_argument(
        "--address", dest="cluster", metavar="HOST:PORT", help="of the cluster, or auto (default: start one)"
    )
    options.add_argument("--replicas", type=int, default=1, metavar="N", help="at least so many (%(default)s)")
    options.add_argument(
        "--max-replicas", type=int, metavar="N", help="grow up to so many under load (default: --replicas)"
    )
    options.add_argument("--target-requests", type=int, default=16, metavar="N",
                         help="grow where a replica has more than so many in flight (%(default)s)")  # fmt: skip


def refuse_options(args: argparse.Namespace) -> None:
    """Refuse what is for a cluster where there is none.

    Raises:
        UserError: there is such an option.
    """
    if args.on == "ray":
        return
    if args.cluster is not None:
        raise UserError(f"serve: --address {args.cluster} is that of a Ray cluster, for --on ray; this process listens "
                        "at --host and --port.")  # fmt: skip
    for name, unset in (("replicas", 1), ("max_replicas", None), ("target_requests", 16)):
        if (given := getattr(args, name)) != unset:
            raise UserError(f"serve: --{name.replace('_', '-')} {given} is for --on ray; here --instances N computes "
                            "side by side.")  # fmt: skip


def serve(settings: Settings, args: argparse.Namespace) -> int:
    """Serve on Ray until a signal comes.

    Raises:
        UserError: Ray Serve is not installed, no cluster answers, or the port is taken.
        RunFailed: the replicas do not start.
    """
    if args.max_replicas is not None and args.max_replicas < args.replicas:
        raise UserError(f"serve: --max-replicas {args.max_replicas}: expected at least --replicas, {args.replicas}.")
    if any(importlib.util.find_spec(name) is None for name in ("ray", "grpc")):
        raise UserError("serve: --on ray needs Ray Serve, which is not installed.\npip install 'oarlock[ray-serve]'")
    from oarlock_plugins.sweeps.ray_cluster import Cluster
    from oarlock_plugins.sweeps.slots import visible_gpus

    gpus = visible_gpus(dict(os.environ)) if settings.device != "cpu" else []
    if args.cluster is None:
        _refuse_too_many(settings, args.replicas, len(gpus))
    port = _free(args.address, args.port)
    stop = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: stop.set())
    try:
        cluster = Cluster(args.cluster, gpus)
    except UserError as error:
        said = str(error).replace("hydra.launcher.address=", "serve: --address ").replace("the sweep", "the server")
        raise UserError(said) from error
    try:
        # Other processes have other working folders.
        _deploy(dataclasses.replace(settings, models=settings.models.absolute()), args, port)
        print(f"serving {shown_path(settings.models)} at http://{args.address}:{port}, on Ray", flush=True)
        stop.wait()
        _withdraw(args.cluster is None)
    finally:
        cluster.close()
    return Exit.DONE


def _refuse_too_many(settings: Settings, replicas: int, gpus: int) -> None:
    """Refuse replicas that never have room: Ray would wait for it.

    Raises:
        UserError: this machine has fewer cores or GPUs.
    """
    from oarlock_plugins.sweeps.slots import cores

    each = settings.threads * settings.instances
    if each * replicas > cores():
        raise UserError(f"serve: --replicas {replicas} of {each} {'core' if each == 1 else 'cores'} each (--threads, --instances): "
                        f"this machine has {cores()}.\nTake fewer, or a cluster: --address HOST:PORT.")  # fmt: skip
    if settings.device != "cpu" and replicas > gpus:
        raise UserError(f"serve: --device {settings.device} --replicas {replicas}: each takes a GPU, and this machine has "
                        f"{gpus}.\nTake fewer, or a cluster: --address HOST:PORT.")  # fmt: skip


def deployment(settings: Settings, replicas: int, max_replicas: int | None, target: int) -> Any:
    """The application as Ray Serve takes it.

    Args:
        settings: what each replica is told; `models` must be the same folder on every node.
        replicas, max_replicas: how many; the same, or None, for a fixed number.
        target: requests in flight that a replica should have.
    """
    from ray import serve

    def build() -> Any:
        # In the replica: an application has threads and sockets, and cannot be sent to one.
        from oarlock_plugins.service.server.app import build_app

        return build_app(settings)

    cores = float(settings.threads * settings.instances)
    actor = {"num_cpus": cores, "num_gpus": float(settings.device.startswith("gpu"))}
    number: dict[str, Any] = {"num_replicas": replicas}
    if max_replicas is not None and max_replicas > replicas:
        number = {"autoscaling_config": {
            "min_replicas": replicas, "max_replicas": max_replicas, "target_ongoing_requests": target,
        }}  # fmt: skip
    return serve.deployment(  # type: ignore[attr-defined]
        serve.ingress(build)(), name=APPLICATION, max_ongoing_requests=ONGOING, ray_actor_options=actor, **number
    ).bind()


def _deploy(settings: Settings, args: argparse.Namespace, port: int) -> None:
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        serve.start(proxy_location="EveryNode", http_options={"host": args.address, "port": port},
                    logging_config={"log_level": "ERROR"})  # fmt: skip
        serve.run(deployment(settings, args.replicas, args.max_replicas, args.target_requests), name=APPLICATION)
    except Exception as error:  # whatever Ray raises about its cluster or about a replica
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise RunFailed(f"serve: the replicas on Ray do not start: {lines[-1][:300]}") from error


def _withdraw(ours: bool) -> None:
    """Take the application away when its requests are answered; and Serve itself where nobody else uses it."""
    from ray import serve

    serve.delete(APPLICATION)
    if not ours and not serve.status().applications:  # a cluster of our own ends as a whole
        serve.shutdown()


def _free(host: str, port: int) -> int:
    """The port, or a free one in the place of 0; Ray would tell of a taken one in a log.

    Raises:
        UserError: it is taken, or the address is not ours.
    """
    from oarlock_plugins.service.server.running import listen

    with listen(host, port) as found:
        address: tuple[Any, ...] = found.getsockname()
        return int(address[1])
