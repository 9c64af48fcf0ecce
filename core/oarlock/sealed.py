"""Sealed folders: written whole or not at all, and verified before they are believed.

A manifest, written last, has the size and the SHA-256 of every file, and its own sum. safetensors and most model
formats carry no checksum: a flipped bit in them is another model.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oarlock.errors import Damaged

MANIFEST = "MANIFEST.json"
_CHUNK = 1 << 20
_SCRATCH = ".scratch"


@contextlib.contextmanager
def scratch_folder(parent: Path, name: str = "new") -> Iterator[Path]:
    """A hidden folder in `parent`, which is made too; whatever still has its name at the end is removed.

    What killed processes left of theirs is removed as well: a folder is locked as long as its process lives.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    # Not by a pattern, whose making takes as long as the rest; a sweep has hundreds of folders here.
    for left in [one for one in os.listdir(parent) if one.startswith(f".{name}.") and one.endswith(_SCRATCH)]:
        with contextlib.suppress(OSError), _locked(parent / left):  # somebody's who lives, gone, or no locks here
            shutil.rmtree(parent / left, ignore_errors=True)
    with contextlib.ExitStack() as locks:
        while True:
            folder = parent / f".{name}.{secrets.token_hex(4)}{_SCRATCH}"
            folder.mkdir()
            try:
                locks.enter_context(_locked(folder))
            except (BlockingIOError, FileNotFoundError):
                continue  # taken for somebody's who was killed before it was locked
            except OSError:
                break  # no locks on this file system: nobody removes what another process left
            if folder.exists():
                break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        BlockingIOError: another process holds it.
        OSError: there is no such folder, or there are no locks on its file system.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def seal(folder: Path, target: Path) -> None:
    """Bring a folder and all that is in it to the disk with a manifest, and give it its name in one rename.

    Args:
        folder: a scratch folder beside `target`.
        target: its name from then on; nothing may be there.

    Raises:
        OSError: the disk is full or not writable, or `target` is there already.
    """
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            entries[path.relative_to(folder).as_posix()] = _entry_of(path)
    write_bytes(folder / MANIFEST, manifest_text(entries))
    for inner in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        sync_folder(inner)
    folder.rename(target)
    sync_folder(target.parent)


def verify(folder: Path) -> list[str]:
    """The names of a sealed folder's files, each of which is what was written.

    Raises:
        Damaged: a file is missing or changed; it names the file.
    """
    entries = read_manifest(folder)
    for name, entry in entries.items():
        try:
            same = _entry_of(folder / name) == entry
        except OSError as error:
            raise Damaged(f"{folder.name}: {name} is missing") from error
        if not same:
            raise Damaged(f"{folder.name}: {name} is damaged")
    return list(entries)


def read(folder: Path) -> dict[str, bytes]:
    """The files of a sealed folder, verified.

    Raises:
        Damaged: a file is missing or changed; it names the file.
    """
    files = {}
    for name, entry in read_manifest(folder).items():
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise Damaged(f"{folder.name}: {name} is missing") from error
        if entry_of(files[name]) != entry:
            raise Damaged(f"{folder.name}: {name} is damaged")
    return files


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a manifest says of each file.

    Raises:
        Damaged: it is missing, or not the only valid text for what it says.
    """
    try:
        written = (folder / MANIFEST).read_bytes()
        entries: dict[str, Any] = json.loads(written)["files"]
        sound = manifest_text(entries) == written
    except OSError as error:
        raise Damaged(f"{folder.name}: {MANIFEST} is missing") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{folder.name}: {MANIFEST} is damaged") from error
    if not sound:  # before its entries are believed, names included
        raise Damaged(f"{folder.name}: {MANIFEST} is damaged")
    return entries


def is_sealed(folder: Path) -> bool:
    """Whether a folder is a part of a sealed one, which a change in it would damage."""
    folder = folder.resolve()
    try:
        return any(name.startswith(f"{folder.name}/") for name in read_manifest(folder.parent))
    except Damaged:  # it has no manifest, or none of ours
        return False


def manifest_text(entries: Any) -> bytes:
    """The only valid text for these entries; it ends with their own sum."""
    body = json.dumps(entries, sort_keys=True)
    return json.dumps({"files": entries, "sha256": hashlib.sha256(body.encode()).hexdigest()}, sort_keys=True).encode()


def entry_of(content: bytes) -> dict[str, Any]:
    """What a manifest says of a file with this content."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _entry_of(path: Path) -> dict[str, Any]:
    """The same of a file that need not fit into memory."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file and bring it to the disk."""
    write_all(path.parent, {path.name: content})


def write_all(folder: Path, files: dict[str, bytes]) -> None:
    """Write files and bring them to the disk, which takes half as long where it begins with all before one is waited for.

    Args:
        folder: where; the folders that names are in are there already.
        files: contents by name.
    """
    with contextlib.ExitStack() as opened:
        handles = []
        for name, content in files.items():
            file = opened.enter_context((folder / name).open("wb"))
            file.write(content)
            file.flush()
            handles.append(file.fileno())
        if hasattr(os, "posix_fadvise"):  # not on macOS
            for handle in handles:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)  # what is not on the disk yet is begun with
        for handle in handles:
            os.fsync(handle)


def write_text(path: Path, text: str) -> None:
    """Write a file and bring it to the disk."""
    write_bytes(path, text.encode())


def write_atomically(path: Path, text: str) -> None:
    """Replace a file: whoever reads it finds the old text or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_text(scratch, text)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)  # on a full disk each try would leave one
        raise


def sync_folder(path: Path) -> None:
    """Bring a folder's entries (a rename) to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
