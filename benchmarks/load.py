"""Load for a server, from one lean process: requests that are ready as bytes, answers of which only the head is read.

    python load.py --port 8000 --request FILE --clients 64 --seconds 5            closed loop
    python load.py --port 8000 --request FILE --rate 2000 --seconds 5             open loop

In the closed loop each client sends when it has its answer. In the open loop requests are due at moments that are drawn
beforehand (Poisson), whatever the server does, and a latency counts from the moment that a request was due: a slow server
cannot hide behind a generator that waits for it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter, deque
from pathlib import Path

TICK = 0.0005


class Client(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, load):
        self.load = load
        self.due = 0.0
        self.busy = False
        self._buffer = b""
        self._missing = 0
        self._status = 0

    def connection_made(self, transport):
        self.transport = transport

    def send(self, due):
        self.due, self.busy = due, True
        self.transport.write(self.load.request)

    def data_received(self, data):
        if self._missing:
            self._missing -= len(data)
        else:
            self._buffer += data
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            lower = head.lower()
            self._status = int(head[9:12])
            start = lower.index(b"content-length:") + 15
            self._missing = int(lower[start:].split(b"\r\n", 1)[0]) - len(rest)
            self._buffer = b""
            if self._status == 200 and self.load.sample is None and not self._missing:
                self.load.sample = rest
        if self._missing <= 0:
            self._missing, self.busy = 0, False
            self.load.answered(self, self._status)

    def connection_lost(self, error):
        if self.busy:
            self.load.broken(self)


class Load:
    """What was sent and what came back; `answers` holds (when, seconds, status)."""

    def __init__(self, args, request):
        self.args, self.request = args, request
        self.answers: list[tuple[float, float, int]] = []
        self.sample, self.broken_count = None, 0
        self.idle: deque[Client] = deque()
        self.backlog: deque[float] = deque()
        self.opening = self.opened = 0
        self.over = False

    async def connect(self):
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(self), self.args.host, self.args.port
        )
        return client

    def answered(self, client, status):
        now = time.perf_counter()
        self.answers.append((now, now - client.due, status))
        if self.over:
            return
        if self.args.rate is None:
            client.send(now)
        elif self.backlog:
            client.send(self.backlog.popleft())
        else:
            self.idle.append(client)

    def broken(self, client):
        if not self.over:
            self.broken_count += 1

    async def closed(self):
        clients = [await self.connect() for _ in range(self.args.clients)]
        self.started = time.perf_counter()
        for client in clients:
            client.send(time.perf_counter())
        await asyncio.sleep(self.args.seconds)
        self.over = True
        await self.drain(clients)

    async def open(self):
        generator = random.Random(self.args.seed)
        clients = [await self.connect() for _ in range(self.args.clients)]
        self.idle.extend(clients)
        self.started = due = time.perf_counter() + 0.05
        rates = self.args.rate
        at = 0.0
        end = sum(seconds for _, seconds in rates)
        while at < end:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            while due <= now and at < end:
                if self.idle:
                    self.idle.popleft().send(due)
                else:
                    self.backlog.append(due)
                due += generator.expovariate(self.rate_at(at))
                at = due - self.started
        self.over = True
        await self.drain(clients)

    def rate_at(self, at):
        for rate, seconds in self.args.rate:
            if at < seconds:
                return rate
            at -= seconds
        return self.args.rate[-1][0]

    async def drain(self, clients):
        self.ended = time.perf_counter()
        for _ in range(500):
            if not any(client.busy for client in clients):
                break
            await asyncio.sleep(0.01)
        for client in clients:
            client.transport.abort()

    def report(self):
        kept = [one for one in self.answers if one[0] - self.started >= self.args.warmup]
        good = sorted(seconds for _, seconds, status in kept if status == 200)
        span = max(1e-9, self.ended - self.started - self.args.warmup)
        windows: dict[int, list[float]] = {}
        for when, seconds, status in self.answers:
            if status == 200:
                windows.setdefault(int((when - seconds - self.started) / self.args.window), []).append(seconds)
        return {
            "per_second": len([1 for when, _, status in kept if status == 200 and when <= self.ended]) / span,
            "statuses": dict(Counter(str(status) for _, _, status in kept)),
            "p50": quantile(good, 0.5), "p90": quantile(good, 0.9), "p99": quantile(good, 0.99),
            "max": good[-1] if good else None, "broken": self.broken_count, "unsent": len(self.backlog),
            # Of the accepted requests that were due in each window: how many, and their p99.
            "windows": {number: [len(found), quantile(sorted(found), 0.5), quantile(sorted(found), 0.99)]
                        for number, found in sorted(windows.items())},
            "sample": self.sample.decode("latin-1") if self.sample else None,
        }  # fmt: skip


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def stage(text):
    """RATE, or RATE:SECONDS."""
    rate, _, seconds = text.partition(":")
    return float(rate), float(seconds) if seconds else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--request", type=Path, required=True, help="a whole request, head and body, as bytes")
    parser.add_argument("--clients", type=int, default=64, help="connections")
    parser.add_argument("--rate", type=stage, nargs="+", help="requests a second, open loop; RATE:SECONDS one after the other")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds at the beginning that do not count")
    parser.add_argument("--window", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--core", type=int, help="run on this core only")
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    if args.rate:
        args.rate = [(rate, seconds or args.seconds) for rate, seconds in args.rate]
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    load = Load(args, args.request.read_bytes())
    runner(load.open() if args.rate else load.closed())
    print(json.dumps(load.report()))


if __name__ == "__main__":
    main()
