"""Derivatives along a line by forward mode, without the warning of torch's own that comes with the first of them."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def value_and_derivative(
    function: Callable[..., Tensor], point: tuple[Any, ...], direction: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """`(f(p), d f(p + sv)/ds)` at s = 0, by one call of the function; p and v are its arguments.

    Raises: NotImplementedError or RuntimeError, where an operation has no forward derivative.
    """
    _load()
    answer = torch.func.jvp(function, point, direction)
    return answer[0], answer[1]


@cache
def _load() -> None:
    """Torch loads forward mode at the first derivative of a process, and warns of a call of its own while it does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.zeros(1),))
