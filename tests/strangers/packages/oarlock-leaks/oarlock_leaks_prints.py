"""Prints while it is imported and while it registers; works otherwise."""

from __future__ import annotations

from oarlock import component, hookimpl

print("ahoy")


@component
class Chatty:
    """Works."""


@hookimpl
def register_components(register):
    print("ahoy")
    register("callback/chatty", Chatty)
