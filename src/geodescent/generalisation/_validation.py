"""Held-out data: what a fit is judged on and never sees."""

from collections.abc import Callable

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import Inputs, take
from geodescent.problem import Problem, held_out

SHARE = 0.2  # of the samples, held out where the fit is to end by held-out cost and none were given
FEWEST = 10

Judge = Callable[[Theta], float | None]


def judge_of(problem: Problem, validation: tuple[Inputs, Tensor] | None) -> Judge:
    """θ ↦ the cost on the validation data, or None without any. Raises InputError where the model refuses them."""
    if validation is None:
        return lambda theta: None
    if not (isinstance(validation, tuple) and len(validation) == 2):
        raise InputError(f"validation must be a pair (X, y), not {type(validation).__name__}.")
    other = held_out(problem, *validation)
    try:
        other.outputs(problem.theta)
    except RuntimeError as error:
        raise InputError(f"the model could not be called on the validation X: {error}") from error
    return lambda theta: other.cost(other.outputs(theta))


def apart(problem: Problem, X: Inputs, y: Tensor, weights: Tensor | None) -> tuple[Problem, tuple[Inputs, Tensor]]:
    """The problem without a fifth of its samples, drawn by a fixed seed, and these as the validation pair.

    Args:
        problem: of all of X, y and weights.

    Raises: InputError, where there are too few.
    """
    n = len(y)
    if n < FEWEST:
        raise InputError(f"{n} samples are too few to hold a fifth of them out: pass validation=(X, y).")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    held, fitted = (part.sort().values.to(y.device) for part in order.split([round(SHARE * n), n - round(SHARE * n)]))
    kept = None if weights is None else weights[fitted]
    outputs = problem.blocks[0].map.on(take(X, fitted))
    return Problem.over(outputs, y[fitted], kept), (take(X, held), y[held])
