"""Orthogonal regularisation."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Orthogonal:
    """The squared cosines between the columns of each weight matrix, summed (after Brock et al. 2017).

    Args:
        coefficient: its factor.
    """

    coefficient: float = 1e-3

    @hookimpl
    def compute_penalty(self, model):
        penalty = 0.0
        for weight in model.parameters():
            if weight.ndim == 2 and not weight.stop_gradient:
                columns = weight / (weight.square().sum(axis=0, keepdim=True) + 1e-12).sqrt()
                cosines = columns.matmul(columns, transpose_x=True)
                penalty = penalty + cosines.square().sum() - cosines.diagonal().square().sum()
        return self.coefficient * penalty
