"""Measured values of equations that turn out to be exact, and the weight that they have then."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from geodescent.linalg import row_norm
from geodescent.problem._alike import active
from geodescent.problem._problem import Problem

VALUES_WEIGHT = 100.0  # Of exact values, as on a boundary, beside equations of weight 1 (docs/decisions.md).
EXACT_VALUES = 1e-9  # Share of the size of measured values: errors below it are those of a fit, not of an instrument.


def with_exact_values(problem: Problem) -> Problem | None:
    """The problem with its measured values weighted as exact ones; None where that changes nothing.

    None too in a precision in which values of `EXACT_VALUES` of their size are rounding.
    """
    light = [block.name for block in problem.blocks if block.name in problem.measured and block.weight < VALUES_WEIGHT]
    if not (light and problem.has_equations and torch.finfo(problem.dtype).eps < EXACT_VALUES):
        return None
    blocks = [replace(block, weight=VALUES_WEIGHT) if block.name in light else block for block in problem.blocks]
    return replace(problem, blocks=tuple(blocks))


def are_exact(problem: Problem, rms: Mapping[str, float]) -> bool:
    """Whether all measured values are met as exact ones are.

    Args:
        problem: some of whose blocks are measured.
        rms: name of a block → root of the mean square of its residual, unweighted.
    """
    measured = (block for block in problem.blocks if block.name in problem.measured)
    return all(
        rms[block.name] * math.sqrt(len(known) * block.n_outputs) <= EXACT_VALUES * row_norm(known.double().reshape(-1))
        for block in measured
        for known in (block.target[active(block)],)
    )
