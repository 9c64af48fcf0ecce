"""No hook at all."""
