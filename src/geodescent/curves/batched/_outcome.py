"""How the fits of many data sets ended."""

from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.curves.batched._data import DataSets
from geodescent.curves.batched._descent import A_STEP, descend
from geodescent.curves.batched._polish import covariance, polished
from geodescent.curves.batched._problem import Problems

UNEXPLAINED = 0.1
"""Share of the variation of the data: where a fit leaves more, it may have ended in a valley beside the lowest."""
CLEARLY_BELOW = (
    1.0 - 1e-9
)  # Factor: a second fit replaces the first where its cost is below this part of the first one's.


class BatchedStatus(IntEnum):
    """How one data set ended; positive where a minimum was found."""

    CONVERGED = 1
    UNDETERMINED = 2
    SPENT = 0
    NOT_FINITE = -1
    TOO_FEW = -2
    BAD_START = -3
    NO_PROGRESS = -4


ENDING_SENTENCES = {
    BatchedStatus.CONVERGED: "Converged to a least-squares minimum.",
    BatchedStatus.UNDETERMINED: "No step lowers the cost, but the data do not determine all parameters here: "
    "fix one of them in f, or start elsewhere.",
    BatchedStatus.SPENT: "max_nfev was reached before a minimum: raise it, or start nearer.",
    BatchedStatus.NOT_FINITE: "x, y or sigma hold values that are not finite, or a sigma that is not positive: "
    "leave such points out by sigma = inf.",
    BatchedStatus.TOO_FEW: "There are fewer points than parameters: pass more points, or fix parameters in f.",
    BatchedStatus.BAD_START: "f is not finite at p0, or p0 is outside the bounds: start elsewhere.",
    BatchedStatus.NO_PROGRESS: "No step lowers the cost, and yet its slope is not zero: f may have a kink or a "
    "jump here, or not be finite nearby; start elsewhere.",
}


@dataclass(frozen=True)
class Outcome:
    """What is known of every data set.

    Attributes:
        theta, matrix, cost: (B, K), (B, K, K) for σ as given, and ‖r‖² (B,).
        status, evaluated: (B,).
    """

    theta: Tensor
    matrix: Tensor
    cost: Tensor
    status: Tensor
    evaluated: Tensor

    @classmethod
    def before(cls, start: Tensor) -> "Outcome":
        """Nothing; the status is that of a data set that may be fitted."""
        unknown = torch.full_like(start, torch.nan)
        status = torch.full_like(start[:, 0], BatchedStatus.CONVERGED, dtype=torch.int64)
        matrix = unknown[:, :, None].expand(-1, -1, start.shape[1]).clone()
        return cls(unknown, matrix, unknown[:, 0].clone(), status, torch.zeros_like(status))

    def put(self, rows: Tensor, other: "Outcome") -> None:
        """Writes the outcomes of these data sets."""
        for part in fields(self):
            getattr(self, part.name)[rows] = getattr(other, part.name)

    def __getitem__(self, rows: Tensor) -> "Outcome":
        return Outcome(self.theta[rows], self.matrix[rows], self.cost[rows], self.status[rows], self.evaluated[rows])


def judge(status: Tensor, data: DataSets, problems: Problems, start: Tensor) -> None:
    """Writes the status of data sets that cannot be fitted, without a call of f."""
    outside = ~((start >= problems.lower) & (start <= problems.upper) & torch.isfinite(start)).all(1)
    status[outside] = BatchedStatus.BAD_START
    status[data.kept < start.shape[1]] = BatchedStatus.TOO_FEW
    status[~data.sound] = BatchedStatus.NOT_FINITE


def fittable(status: Tensor) -> Tensor:
    """The data sets that can be fitted. Raises InputError where there is none."""
    rows = (status > 0).nonzero()[:, 0]
    if not len(rows):
        reason = ENDING_SENTENCES[BatchedStatus(int(status[0]))]
        raise InputError(f"None of {len(status)} data sets can be fitted. The first: {reason}")
    return rows


def best_of_two(problems: Problems, start: Tensor, most: int) -> Outcome:
    """Fits with the linear parameters solved for; where that may have missed the lowest valley, also alike."""
    outcome = _fitted(problems, start, most)
    doubtful = (outcome.cost > UNEXPLAINED * problems.variation()) | (outcome.status != BatchedStatus.CONVERGED)
    rows = doubtful.nonzero()[:, 0]
    if problems.linear and problems.bent and len(rows):
        first, second = outcome[rows], _fitted(problems[rows].separated(()), start[rows], most)
        outcome.evaluated[rows] = second.evaluated[:] = first.evaluated + second.evaluated
        better = torch.isfinite(second.cost) & ~(second.cost >= CLEARLY_BELOW * first.cost)
        outcome.put(rows[better], second[better])
    return outcome


def _fitted(problems: Problems, start: Tensor, most: int) -> Outcome:
    ends = descend(problems, start, most)
    best, converged, evaluated = polished(problems, ends)
    matrix, determined = covariance(problems, best.factor)
    found = torch.where(determined, int(BatchedStatus.CONVERGED), int(BatchedStatus.UNDETERMINED))
    spent = ends.evaluated + A_STEP > most
    missed = torch.where(spent, int(BatchedStatus.SPENT), int(BatchedStatus.NO_PROGRESS))
    return Outcome(best.theta, matrix, best.cost, torch.where(converged, found, missed), evaluated)
