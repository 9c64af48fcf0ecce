"""`oarlock serve`: its options, and what is refused before anything is started."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from oarlock import Exit, UserError, shown_path
from oarlock_plugins.service import models, on_ray

_LIMITS = (
    ("--max-batch-rows", int, "N", "rows of a batch; 1 computes each request by itself"),
    ("--max-request-rows", int, "N", "rows of one request"),
    ("--max-body-bytes", int, "N", "of one request, unpacked too"),
    ("--max-queue-requests", int, "N", "requests that wait for one model"),
    ("--max-queue-rows", int, "N", "rows that wait for one model"),
    ("--max-queue-bytes", int, "N", "of all requests in the server"),
    ("--max-connections", int, "N", "open connections; for one more one that is unused is closed"),
    ("--target-seconds", float, "S", "an answer may take so long when there is more to do than can be done"),
    ("--standing-seconds", float, "S", "a burst may be larger for so long"),
    ("--deadline-seconds", float, "S", "a request may wait to be computed"),
    ("--header-seconds", float, "S", "to send the head of a request"),
    ("--body-seconds", float, "S", "to send its body"),
    ("--idle-seconds", float, "S", "an unused connection stays open"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    from oarlock_plugins.service.server.settings import Settings

    parser.add_argument("models", type=Path, metavar="MODELS_DIR", help="a folder MODELS_DIR/NAME/VERSION of bundles")
    parser.add_argument(
        "--host", dest="address", metavar="HOST", default="127.0.0.1", help="address to listen on (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (%(default)s)")
    parser.add_argument("--engine", default="onnxruntime", help="onnxruntime or paddle (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, or gpu:0 (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of an engine (%(default)s)")
    parser.add_argument("--instances", type=int, default=1, help="engines of a model, side by side (%(default)s)")
    parser.add_argument("--poll-seconds", type=float, default=1.0, help="look for versions so often (%(default)s)")
    parser.add_argument("--any-signature", action="store_true", help="let a version have other inputs or outputs")
    access = parser.add_mutually_exclusive_group()
    access.add_argument(
        "--token-file", type=Path, metavar="FILE", help="what every request must bear; or OARLOCK_TOKEN"
    )
    access.add_argument("--no-token", action="store_true", help="let everybody who reaches the address ask")
    parser.add_argument("--log-format", choices=("json", "text"), default="json", help="(%(default)s)")
    parser.add_argument("--log-requests", action="store_true", help="a line for every request, not only for errors")
    parser.add_argument("--drain-delay", type=float, default=0.0, metavar="S",
                        help="after a signal, say 'not ready' for so long before closing (%(default)s)")  # fmt: skip
    parser.add_argument("--grace", type=float, default=30.0, metavar="S",
                        help="then let requests in flight end, so long at most (%(default)s)")  # fmt: skip
    on_ray.add_options(parser)
    limits = parser.add_argument_group("limits")
    for flag, kind, shown, text in _LIMITS:
        default = getattr(Settings, flag[2:].replace("-", "_"))
        limits.add_argument(flag, type=kind, default=default, metavar=shown, help=f"{text} (%(default)s)")


def run(args: argparse.Namespace) -> int:
    settings_of = vars(args)
    _check_numbers(settings_of)
    token = _token(args)
    models.names(args.models)  # an error where there is no such folder
    models.refuse_part(args.models, "serve: ")
    models.refuse_runs(args.models, "serve: ")
    try:
        from oarlock_plugins.service import engines
        from oarlock_plugins.service.server.app import build_app
        from oarlock_plugins.service.server.logs import Log
        from oarlock_plugins.service.server.running import listen
        from oarlock_plugins.service.server.running import run as serve
        from oarlock_plugins.service.server.settings import Settings
    except ImportError as error:
        raise UserError(f"serve needs {error.name}, which is not installed.\npip install 'oarlock[serve]'") from error
    fields = {key: value for key, value in settings_of.items() if key in Settings.__dataclass_fields__}
    settings = Settings(**{**fields, "token": token})
    _check_engine(settings.engine)
    engines.gpu_of(settings.device, "serve: --device ")
    on_ray.refuse_options(args)
    if args.on == "ray":
        return on_ray.serve(settings, args)
    engines.check_device(settings.engine, settings.device, "serve: --device ")
    listener = listen(args.address, args.port)
    log = Log(args.log_format)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log("info", "serving", models=shown_path(args.models), url=f"http://{shown}:{port}", engine=settings.engine,
        token=token is not None, pid=os.getpid())  # fmt: skip
    print(f"serving {shown_path(args.models)} at http://{shown}:{port}", flush=True)
    serve(build_app(settings, log), listener, args.drain_delay, args.grace)
    return Exit.DONE


def _check_numbers(options: dict[str, object]) -> None:
    zero = ("port", "drain_delay", "grace")
    for key, value in options.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            least = 0 if key in zero else 1 if isinstance(value, int) else 0.001
            if not least <= value <= 1e12:
                raise UserError(f"serve: --{key.replace('_', '-')} {value}: expected a number from {least} on.")


def _check_engine(kind: str) -> None:
    from importlib.util import find_spec

    from oarlock import nearest
    from oarlock_plugins.service.engines import KINDS

    if kind not in KINDS:
        raise UserError(f"serve: --engine {kind}: there is no such engine. {nearest(kind, KINDS)}")
    if find_spec(kind) is None:
        raise UserError(f"serve: --engine {kind} needs {kind}, which is not installed.\n"
                        f"pip install {'paddlepaddle' if kind == 'paddle' else kind}")  # fmt: skip


def _token(args: argparse.Namespace) -> str | None:
    token = os.environ.get("OARLOCK_TOKEN")
    if args.token_file is not None:
        try:
            token = args.token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UserError(f"serve: --token-file {shown_path(args.token_file)} cannot be read: {reason}.") from error
    if args.no_token:
        if token:
            print("warning: --no-token: OARLOCK_TOKEN is not used", file=sys.stderr)
        return None
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise UserError("serve: the token must be a word of visible ASCII characters.")
    if token is None and not _is_loopback(args.address):
        raise UserError(f"serve: --host {args.address} can be reached from other machines: set a token in OARLOCK_TOKEN or "
                        "--token-file FILE,\nor say --no-token if everybody there may ask.")  # fmt: skip
    return token


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
