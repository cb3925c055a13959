"""The problem of a call: a whole `Problem`, or one made of a module and its data."""

import math
from typing import Protocol, runtime_checkable

from torch import nn
from torch.utils.data import Dataset

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent.outputs import RawInputs, Select
from geodescent.problem._problem import Problem


@runtime_checkable
class HasProblem(Protocol):
    """Something that makes a problem of itself, as a system of differential equations does."""

    def problem(self) -> Problem:
        """The problem."""
        ...


class Changes(Protocol):
    """What a choice of the start changed."""

    @property
    def changes(self) -> list[str]:
        """In sentences; empty where nothing was changed."""
        ...


@runtime_checkable
class HasStart(HasProblem, Protocol):
    """Something that makes a problem of itself and knows how to choose its start."""

    @property
    def is_fresh(self) -> bool:
        """Whether its parameters are those that it was made with."""
        ...

    def choose_start(self, *, seed: int = 0, seconds: float = math.inf) -> Changes | None:
        """Chooses the start, in place, in about so many seconds; None where there is nothing to choose."""
        ...

    def start(self) -> dict[str, object]:
        """What the choice may have changed beside the parameters, for JSON."""
        ...

    def begin_as(self, start: dict[str, object]) -> None:
        """Makes it what it was then. Raises KeyError, TypeError or ValueError for that of another system."""
        ...


Model = nn.Module | Problem | HasProblem
"""A module, to be passed with X and y, or a whole problem or what makes one, which holds its data."""


def problem_of(
    model: Model,
    X: RawInputs | None,
    y: Values | None,
    weights: Values | None = None,
    *,
    call: str,
    select: Select | None = None,
) -> Problem:
    """The problem itself, or that of model, X and y.

    Args:
        call: the function that was called, for error messages.

    Raises: InputError, where data are missing, or are passed with a problem.
    """
    if isinstance(model, HasProblem) and not isinstance(model, nn.Module):
        model = model.problem()
    if isinstance(model, Problem):
        whole = {"X": X, "y": y, "weights": weights, "select": select}
        superfluous = [name for name, value in whole.items() if value is not None]
        if superfluous:
            raise InputError(
                f"a Problem brings its own data: leave {' and '.join(superfluous)} out, gd.{call}(problem)."
            )
        return model
    if not isinstance(model, nn.Module):
        raise InputError(
            f"the first argument is a torch.nn.Module or a gd.Problem, not {type(model).__name__}: "
            f"gd.{call}(model, X, y), or gd.{call}(problem)."
        )
    if X is None or y is None:
        if isinstance(X, Dataset):
            raise InputError(
                f"X is a {type(X).__name__}, data and targets in one: take them out, "
                "X, y = next(iter(torch.utils.data.DataLoader(X, batch_size=len(X))))."
            )
        missing = "y is" if X is not None else "X is" if y is not None else "X and y are"
        raise InputError(f"{missing} missing: pass {call}(model, X, y), or a whole problem, {call}(problem).")
    return Problem.of(model, X, y, weights=weights, select=select)
