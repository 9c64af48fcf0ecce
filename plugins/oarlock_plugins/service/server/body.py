"""A request's body: read within limits of size, time and memory, unpacked within them too."""

from __future__ import annotations

import asyncio
import re
import sys
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oarlock_plugins.service.server.refusals import Gone, Refused, malformed, overloaded
from oarlock_plugins.service.server.settings import Settings

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
# Unpacking less than this takes no longer than handing it to a thread.
_SMALL = 16 << 10
_ZERO = re.compile(rb"\s*q\s*=\s*0(\.0*)?\s*")


class Bodies:
    """All the bodies in memory, counted.

    Attributes:
        held: their bytes.
        coming: those of them that are of bodies that are not complete.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.held = self.coming = 0

    def hold(self, size: int) -> None:
        """Count so many more bytes.

        Raises:
            Refused: it would be more than all requests together may have.
        """
        if self.held + size > self._settings.max_queue_bytes:
            raise overloaded("the requests in the server are too large together", "bytes_full")
        self.held += size

    def release(self, size: int) -> None:
        self.held -= size

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> tuple[bytes, int]:
        """The body, unpacked, and how many bytes are held for it, which the caller releases.

        Raises:
            Refused: it is too large, too slow, or not what its headers say.
            Gone: the client left.
        """
        announced = headers.get(b"content-length", b"0")
        if len(announced) > 18 or int(announced) > self._settings.max_body_bytes:
            raise self._too_large()
        body = await self._collect(receive)
        held = len(body)
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding == b"identity":
            return body, held
        try:
            unpacked = await self._unpack(body, encoding)
            self.hold(len(unpacked))
        except Refused:
            self.release(held)
            raise
        return unpacked, held + len(unpacked)

    async def _collect(self, receive: Receive) -> bytes:
        """All of it, held. A timer, since `asyncio.wait_for` makes a task for each request."""
        task, late = asyncio.current_task(), []
        assert task is not None

        def expire() -> None:
            late.append(True)
            task.cancel()

        timer = asyncio.get_running_loop().call_later(self._settings.body_seconds, expire)
        try:
            return await self._gather(receive)
        except asyncio.CancelledError as error:
            if not late:
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            seconds = self._settings.body_seconds
            raise Refused(408, f"the body did not come within {seconds:g} s", "slow", close=True) from error
        finally:
            timer.cancel()

    async def _gather(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        held = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                part = message["body"]
                if held + len(part) > self._settings.max_body_bytes:
                    raise self._too_large()
                self.hold(len(part))
                held += len(part)
                self.coming += len(part)
                if not message.get("more_body"):
                    return b"".join([*parts, part]) if parts else part
                # Who sends slowly leaves room for who has sent; a single body may have all of it.
                if self.coming > max(held, self._settings.max_queue_bytes // 2):
                    raise overloaded("the requests on their way are too large together", "bytes_full")
                parts.append(part)
        except BaseException:  # a refusal, or it took too long
            self.release(held)
            raise
        finally:
            self.coming -= held

    async def _unpack(self, body: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"gzip", b"deflate"):
            shown = encoding[:20].decode("ascii", "replace")
            raise Refused(415, f"Content-Encoding: {shown}: expected gzip, deflate or identity")
        if len(body) <= _SMALL // 8:  # the worst bomb is a thousand times its size
            return self._inflate(body)
        return await asyncio.to_thread(self._inflate, body)

    def _inflate(self, body: bytes) -> bytes:
        unpacker = zlib.decompressobj(wbits=47)  # either format, by its first bytes
        try:
            found = unpacker.decompress(body, self._settings.max_body_bytes + 1)
        except zlib.error as error:
            raise malformed("the body is not what Content-Encoding says") from error
        if len(found) > self._settings.max_body_bytes:
            raise self._too_large()
        if not unpacker.eof or unpacker.unused_data:
            raise malformed("the compressed body is cut off, or followed by something else")
        return found

    def _too_large(self) -> Refused:
        return Refused(413, f"a body has at most {self._settings.max_body_bytes} bytes, unpacked too", "too_large")


def packing(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Which compression a client asks for, if it is one of ours."""
    accepted = headers.get(b"accept-encoding")
    if accepted is None:
        return None
    for part in accepted.lower().split(b","):
        name, _, quality = part.partition(b";")
        if name.strip() in (b"gzip", b"deflate") and not _ZERO.fullmatch(quality):
            return name.strip()
    return None


def pack(body: bytes, encoding: bytes) -> bytes:
    """A body compressed, fast rather than small."""
    packer = zlib.compressobj(1, wbits=31 if encoding == b"gzip" else 15)
    return packer.compress(body) + packer.flush()
