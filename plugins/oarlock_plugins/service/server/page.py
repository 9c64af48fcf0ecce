"""The page at `/`: one text with its style and its script inside, that loads nothing from anywhere else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

TEMPLATE = Path(__file__).parent / "template"
SCRIPTS = ("start.js", "models.js", "try.js")
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
           "Referrer-Policy": "no-referrer"}  # fmt: skip


@functools.lru_cache(1)
def page() -> str:
    """The page, which has no data: its script asks for `/status`."""
    script = "\n".join((TEMPLATE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        # Even a model's name that escaped from its quotes could neither run nor send anything elsewhere.
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
                  "img-src data:; base-uri 'none'; form-action 'none'",
        "style": (TEMPLATE / "page.css").read_text(encoding="utf-8"),
        "script": script,
    }  # fmt: skip
    template = (TEMPLATE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
