"""What a bad disk or a broken transfer makes of a file."""

from __future__ import annotations

from hypothesis import strategies as st


def damaged(data, content):
    """The bytes of a file, cut off or with up to three bits changed, as Hypothesis draws it."""
    content = bytearray(content)
    if data.draw(st.booleans(), label="cut off"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for place in data.draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=3 * bool(content))):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(content)
