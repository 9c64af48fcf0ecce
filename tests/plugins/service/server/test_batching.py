"""Where a batch is computed: only what is known to be quick in the event loop itself."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from oarlock_plugins.service.server.batching import Batcher
from oarlock_plugins.service.server.protocol import InferRequest
from oarlock_plugins.service.server.settings import Settings

QUICK, SLOW = 4, 4_000


@pytest.mark.parametrize("rows", [1, 2])
def test_a_long_row_is_not_computed_in_the_loop_after_many_short_ones(rows):
    """A model takes rows of any length, and what a short one takes says nothing of a long one."""
    where = {}

    def engine(inputs):
        where[inputs["x"].shape[1]] = threading.current_thread()
        time.sleep(0.1 if inputs["x"].shape[1] == SLOW else 0)
        return {"y": inputs["x"][:, :1]}

    async def serve():
        batcher = Batcher([engine], ["x"], Settings(Path()), lambda rows, seconds: None)

        async def ask(length):
            answer = asyncio.get_running_loop().create_future()
            request = InferRequest({"x": np.ones((rows, length), "float32")}, rows, None, [], None)
            batcher.submit(request, time.monotonic() + 10, answer)
            return await answer

        for _ in range(50):
            await ask(QUICK)
        await ask(SLOW)
        batcher.close()
        batcher.join(5)

    asyncio.run(serve())
    assert where[QUICK] is threading.main_thread()
    assert where[SLOW] is not threading.main_thread()
