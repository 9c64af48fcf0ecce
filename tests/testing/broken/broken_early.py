"""Imports Paddle when it is loaded."""

import paddle

from oarlock import component, hookimpl


@component
class Early:
    """Looks at Paddle's version."""

    @hookimpl
    def on_run_start(self, run):
        self.version = paddle.__version__


@hookimpl
def register_components(register):
    register("callback/early", Early)
