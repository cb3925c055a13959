"""Validation data: what judges a fit while it runs, and is never fitted."""

from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import RawInputs
from geodescent.problem import (
    BatchSource,
    FixedSource,
    Loader,
    Problem,
    Source,
    on_samples,
    require_one_theta,
    resampled,
    sampled_block,
)

VALIDATION_SHARE = 0.2  # Share of the samples, where the fit is to end by validation cost and no data were given.
FEWEST = 10  # Samples: of fewer a fifth says nothing.

Validation = tuple[RawInputs, Values] | Loader | Problem


@dataclass(frozen=True)
class Judge:
    """θ ↦ the cost on the validation data, or None without any."""

    source: Source | None

    @property
    def notes(self) -> list[str]:
        """What of the validation data was converted."""
        own = () if self.source is None else self.source.first.notes
        return [f"Validation: {note}" for note in own]

    def __call__(self, theta: Theta) -> float | None:
        return None if self.source is None else self.source.cost(theta)


def validation_cost(problem: Problem, validation: Validation | None) -> Judge:
    """The judge of a fit of this problem.

    Args:
        validation: a pair (X, y), a DataLoader of such pairs, or another problem over the same θ.

    Raises: InputError, where the model refuses them.
    """
    if validation is None:
        return Judge(None)
    source = _validation_source(problem, validation)
    try:
        source.first.outputs(problem.theta)
    except RuntimeError as error:
        raise InputError(f"the model could not be called on the validation X: {error}") from error
    return Judge(source)


def _validation_source(problem: Problem, validation: Validation) -> Source:
    if isinstance(validation, DataLoader):
        return BatchSource.on(problem, validation, name="validation")
    if isinstance(validation, Problem):
        first, other = problem.blocks[0].map, validation.blocks[0].map
        require_one_theta(first, other, first_name="the problem", other_name="the validation problem")
        return FixedSource(validation)
    if not (isinstance(validation, tuple) and len(validation) == 2):
        raise InputError(
            "validation must be a pair (X, y), a DataLoader of such pairs, or another gd.Problem, not "
            f"{_described(validation)}."
        )
    return FixedSource(on_samples(problem, *validation, name="validation"))


def _described(value: object) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__


def split_off(problem: Problem, *, otherwise: str) -> tuple[Problem, Problem]:
    """The problem without a fifth of its samples, drawn by a fixed seed, and the problem of these.

    Args:
        otherwise: what the user can do where none can be drawn.

    Raises: InputError, where there are too few samples, or none.
    """
    sampled = sampled_block(problem)
    if sampled is None:
        raise InputError(
            f'stop="validation" draws validation samples from a problem of one block of samples: {otherwise}.'
        )
    block, outputs = sampled
    n = block.n_samples
    if n < FEWEST:
        raise InputError(f"{n} samples are too few to draw a fifth of them for validation: {otherwise}.")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0), device="cpu")
    n_drawn = round(VALIDATION_SHARE * n)
    drawn, fitted = (part.sort().values.to(block.target.device) for part in torch.split(order, [n_drawn, n - n_drawn]))
    kept = None if block.weights is None else block.weights[fitted]
    judging = resampled(block, outputs.at(drawn), block.target[drawn], None)
    return Problem((resampled(block, outputs.at(fitted), block.target[fitted], kept),)), Problem((judging,))
