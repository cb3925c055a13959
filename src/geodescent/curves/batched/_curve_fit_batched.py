"""The same formula fitted to many data sets at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geodescent._budget import budget
from geodescent._settings import OneOf, Whole
from geodescent.curves._face import require_functions
from geodescent.curves._foreign import many
from geodescent.curves.batched._data import Given, data_sets, starts
from geodescent.curves.batched._descent import A_STEP
from geodescent.curves.batched._formula import BatchedFormula, linear_parameters
from geodescent.curves.batched._outcome import ENDING_SENTENCES, BatchedStatus, Outcome, best_of_two, fittable, judge
from geodescent.curves.batched._problem import Problems

Numbers: TypeAlias = Tensor | NDArray[np.float64] | NDArray[np.int64] | NDArray[np.bool_]
"""Tensors where ydata was one, on its device; else arrays."""

LEAST_NFEV = A_STEP + 2  # Evaluations: the start, the same with its linear parameters, and one step.
BYTES_A_NUMBER = 64
"""Bytes of a number of the derivatives that are held at once: eight in float64, times the copies that are alive."""


@dataclass(frozen=True, repr=False, eq=False)
class BatchedFit:
    """B fits of K parameters; `popt, pcov = fit` unpacks it. Tensors where ydata was one, else NumPy arrays.

    Attributes:
        popt: θ (B, K), NaN where a data set could not be fitted at all (status below zero but NO_PROGRESS).
        pcov: (B, K, K), the covariance of θ, infinite where the data do not determine it.
        stderr: (B, K), the roots of its diagonal.
        success: (B,), a minimum was found and its parameters are determined.
        status: (B,), a `BatchedStatus` each.
        cost: ½‖(f − y)/σ‖² (B,).
        nfev: (B,), parameters at which f, or f and its derivatives, were evaluated.
    """

    popt: Numbers
    pcov: Numbers
    stderr: Numbers
    success: Numbers
    status: Numbers
    cost: Numbers
    nfev: Numbers

    def __iter__(self) -> Iterator[Numbers]:
        return iter((self.popt, self.pcov))

    @property
    def message(self) -> list[str]:
        """A sentence for each data set."""
        return [ENDING_SENTENCES[BatchedStatus(int(code))] for code in self.status]

    def __repr__(self) -> str:
        count, unknowns = self.popt.shape
        codes = [BatchedStatus(int(code)) for code in self.status]
        lines = [f"{codes.count(status)}: {ENDING_SENTENCES[status]}" for status in BatchedStatus if status in codes]
        return "\n".join([f"{count} fits of {unknowns} parameters:", *lines])


@many
def curve_fit_batched(
    f: Callable[..., Tensor],
    xdata: Given,
    ydata: Given,
    p0: Given | None = None,
    sigma: Given | None = None,
    absolute_sigma: bool = False,
    bounds: tuple[Given, Given] = (-np.inf, np.inf),
    max_nfev: int = 300,
) -> BatchedFit:
    """Fits one formula to B data sets at once: `min ½ Σ ((f(xᵢ, θ) − yᵢ)/σᵢ)²` for each, in SciPy's idiom.

        x = torch.linspace(0.0, 4.0, 50, dtype=torch.float64)
        y = torch.rand(10_000, 1) * torch.exp(-x) + 0.01 * torch.randn(10_000, 50)
        fit = gd.curve_fit_batched(lambda x, a, b, c: a * torch.exp(-b * x) + c, x, y)
        fit.popt, fit.stderr, fit.success

    A data set that cannot be fitted is reported in `status` and `message`, and the others are fitted as if alone.
    Parameters that f is linear in are found and solved for, so that their start plays no part; nothing
    depends on units.

    Args:
        f: f(x, θ₁, …, θ_K) of one data set, (n,), in operations of torch: x as in xdata, the parameters as numbers.
        xdata: (n,), or (k, n) for k predictors, shared by all; (B, n) or (B, k, n) with one for each. Where k = B,
            (k, n) is read as one for each.
        ydata: (B, n).
        p0: start (K,) or (B, K); by default that of SciPy: ones, or within the bounds.
        sigma: standard deviations (), (n,) or (B, n) in the units of y. Points with σ = inf are left out, whatever
            x and y hold there, and do not count: so data sets may have different lengths.
        absolute_sigma: whether σ is known; otherwise pcov is scaled by the mean square `‖(f − y)/σ‖²/(n − K)`.
        bounds: (lower, upper), each a number, (K,) or (B, K); kept exactly.
        max_nfev: for each data set, evaluations before the last digits are found.

    Raises:
        InputError: shapes or types do not fit together, f cannot be called, or no data set at all can be fitted.

    Cost: some ten steps of K + 2 evaluations of f and 2 n K² flops for each data set, in sweeps over all of them, in
    float64 and on the device of ydata.

    Source: Levenberg-Marquardt in Moré's metric (Lecture Notes in Mathematics 630, 1978) with the second-order term of
    Transtrum and Sethna (arXiv:1201.5885) and variable projection (Kaufman, BIT 15, 1975); ours are the refusal of
    steps that bend, and undamped steps at the end for the last digits.
    """
    require_functions(f, "f", "gd.curve_fit_batched(f, xdata, ydata)")
    OneOf((False, True)).of("absolute_sigma", absolute_sigma)
    data = data_sets(xdata, ydata, sigma)
    start, lower, upper = starts(f, p0, data.y, bounds)
    max_nfev = Whole(300, least=LEAST_NFEV).of("max_nfev", max_nfev)
    problems = Problems(BatchedFormula(f, data.x, data.shared), data.y, data.weight, lower, upper)
    outcome = Outcome.before(start)
    judge(outcome.status, data, problems, start)
    rows = fittable(outcome.status)
    problems[rows[:1]].formula.check(start[rows[:1]])
    size = max(1, budget().batch_bytes // (BYTES_A_NUMBER * data.y.shape[1] * (start.shape[1] + 1)))
    for block in _blocks(rows, size):
        finite = torch.isfinite(problems[block].residual(start[block])).all(1)
        outcome.status[block[~finite]] = BatchedStatus.BAD_START
    rows = fittable(outcome.status)
    problems = problems.separated(linear_parameters(problems[rows].formula, start[rows]))
    for block in _blocks(rows, size):
        outcome.put(block, best_of_two(problems[block], start[block], max_nfev))
    return _given_back(outcome, data.kept, absolute_sigma, as_tensors=isinstance(ydata, Tensor))


def _given_back(outcome: Outcome, kept: Tensor, absolute_sigma: bool, *, as_tensors: bool) -> BatchedFit:
    """The result, as tensors or as arrays."""
    pcov = outcome.matrix
    if not absolute_sigma:
        free = kept - outcome.theta.shape[1]
        pcov = torch.where(free[:, None, None] > 0, pcov * (outcome.cost / free)[:, None, None], torch.inf)
        pcov = torch.where(torch.isnan(outcome.matrix), torch.nan, pcov)
    stderr = pcov.diagonal(dim1=1, dim2=2).sqrt()
    success = outcome.status == BatchedStatus.CONVERGED
    every = (outcome.theta, pcov, stderr, success, outcome.status, 0.5 * outcome.cost, outcome.evaluated)
    return BatchedFit(*(every if as_tensors else (tensor.numpy() for tensor in every)))


def _blocks(rows: Tensor, size: int) -> Iterator[Tensor]:
    return (rows[i : i + size] for i in range(0, len(rows), size))
