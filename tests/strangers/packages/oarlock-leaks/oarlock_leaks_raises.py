"""Raises while it is imported."""

raise RuntimeError("no water\nin the river")
