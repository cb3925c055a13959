"""A problem looked at before a fit: its Jacobian, and what the parts of a step take, measured."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from geodescent._deadline import clock
from geodescent._errors import MemoryPlanError
from geodescent._types import Outputs
from geodescent.doors.planning._samples import number_of_samples
from geodescent.jacobian import COPIES_OF_D, Jacobian, bytes_of
from geodescent.lift import DenseLift, GramLift, solving_flops
from geodescent.linalg import EIGH_FLOPS
from geodescent.outputs import Sampled, Traced
from geodescent.problem import Problem, drawn

SAMPLES_OF_A_LOOK = 16  # Samples of the first look.
MORE_EACH_LOOK = 4  # Times as many samples in the next look.
LONG_LOOK = (
    0.25  # Seconds: after a longer look no larger one is taken, which would take `MORE_EACH_LOOK` times as long.
)
SHORT_WORK = 0.05  # Seconds: shorter work is measured again, as a first call takes longer than those that follow.
REPEATS = 4  # Measurements of short work after the first, whose mean counts.
ORDER_OF_FACTORS = 300  # Of the matrix that the rate of eigendecompositions is measured with, a tenth of a second.
ORDER_OF_RATE = 600  # Of the matrices that the rate is measured with: large enough that calls cost little, some 20 ms.


@dataclass(frozen=True)
class Look:
    """A problem linearised at its θ, on all of its samples or on few of them; all numbers are those of all samples.

    Attributes:
        problem: that was looked at.
        few: what was linearised of it.
        residual, jacobian: of these.
        linearisation: seconds, of all samples.
        in_passes: whether D is not held, and each product linearises anew.
    """

    problem: Problem
    few: Problem
    residual: Outputs
    jacobian: Jacobian
    linearisation: float
    in_passes: bool = False

    @classmethod
    def at(cls, problem: Problem, dtype: torch.dtype, *, as_far_as_fits: bool = False) -> "Look":
        """On as many samples as take about a second at most, other blocks whole.

        Args:
            dtype: of residual and solves.
            as_far_as_fits: whether D of fewer samples will do where that of more does not fit into memory.
        """
        n = max((block.n_samples for block in problem.blocks if isinstance(block.map, Sampled)), default=1)
        count, look = min(SAMPLES_OF_A_LOOK, n), None
        while look is None or not (count == n or look.linearisation / look.times > LONG_LOOK):
            count = count if look is None else min(n, MORE_EACH_LOOK * count)
            try:
                look = cls._of_samples(problem, problem if count == n else drawn(problem, count / n, seed=0), dtype)
            except MemoryPlanError:
                if look is None or not as_far_as_fits:
                    raise
                break
        return look

    @classmethod
    def _of_samples(cls, problem: Problem, few: Problem, dtype: torch.dtype) -> "Look":
        found = list[tuple[Outputs, Jacobian]]()

        def linearise() -> None:
            found[:] = [few.linearise(few.theta, dtype=dtype)]

        seconds = seconds_of(linearise, few.device)
        return cls(problem, few, *found[0], number_of_samples(problem) / number_of_samples(few) * seconds)

    @property
    def times(self) -> float:
        """All samples over those that were looked at."""
        return number_of_samples(self.problem) / number_of_samples(self.few)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, K) of all samples."""
        return self.problem.n_residuals, self.problem.n_params

    @cached_property
    def gradient(self) -> float:
        """Seconds of `∇C`: one backward pass, or Dᵀr where autograd cannot differentiate a map."""
        maps = [block.map for block in self.few.blocks]
        traced = [outputs for outputs in maps if isinstance(outputs, Traced)]
        if len(traced) < len(maps):
            return self.linearisation + self.product / 2.0

        def differentiate() -> None:
            with torch.enable_grad():
                theta = self.few.theta.clone().requires_grad_()
                outputs = torch.cat([each.traced(theta).reshape(-1) for each in traced])
                rows = self.few.residual_of(outputs, dtype=self.few.dtype)
                torch.autograd.grad(rows.square().sum(), theta)

        return self.times * seconds_of(differentiate, self.few.device)

    @cached_property
    def product(self) -> float:
        """Seconds of a product with D and one with Dᵀ."""
        return 2.0 * self.linearisation if self.in_passes else self.pair(self.jacobian.dtype)

    def pair(self, dtype: torch.dtype) -> float:
        """The same in a dtype."""
        jacobian, rows = self.jacobian.to(dtype), self.residual.to(dtype)
        return self.times * seconds_of(lambda: jacobian.mv(jacobian.rmv(rows)), self.few.device)

    @cached_property
    def forward(self) -> float:
        """Seconds of a forward pass."""
        theta = self.few.theta
        return self.times * seconds_of(lambda: self.few.outputs(theta), self.few.device)

    @cached_property
    def second_derivative(self) -> float:
        """Seconds of `d²x` along one direction."""
        theta = self.few.theta
        direction = torch.ones_like(theta)
        drawn(self.few, 0.0, seed=0).second_derivative(theta, direction)  # at its first call torch loads what it needs
        return self.times * seconds_of(lambda: self.few.second_derivative(theta, direction), self.few.device)

    @cached_property
    def rate(self) -> float:
        """Flops a second of products of matrices and Cholesky factors, in the solves' precision."""
        jacobian, n = self.jacobian, ORDER_OF_RATE
        a = torch.eye(n, dtype=jacobian.dtype, device=jacobian.device).add_(1.0 / n)
        seconds = seconds_of(lambda: torch.linalg.cholesky(a @ a), jacobian.device)
        return (2.0 + 1.0 / 3.0) * n**3 / seconds

    @cached_property
    def factor_rate(self) -> float:
        """Flops a second of eigendecompositions, which are slower."""
        jacobian, n = self.jacobian, ORDER_OF_FACTORS
        a = torch.ones(n, n, dtype=jacobian.dtype, device=jacobian.device).tril_()
        return EIGH_FLOPS * n**3 / seconds_of(lambda: torch.linalg.eigh(a @ a.T), jacobian.device)

    @property
    def product_flops(self) -> float:
        """Of a product with D and one with Dᵀ."""
        return self.times * self.jacobian.product_flops()

    def flops_of(self, lift: DenseLift) -> float:
        """Of the matrix and of the solves in one exact step."""
        flops = lift.step_flops(self.jacobian)
        if self.times == 1.0:
            return flops
        by_rows = isinstance(lift, GramLift)
        some, order = self.jacobian.shape[not by_rows], self.shape[not by_rows]
        matrix = (flops - solving_flops(some)) * self.times ** (2 if by_rows else 1)
        return matrix + solving_flops(order)

    @property
    def held_bytes(self) -> float:
        """Of D and its copies, in other precisions, scaled or rotated."""
        return COPIES_OF_D * self.times * bytes_of(self.jacobian)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long it takes: short work the mean of a few calls after the first."""
    seconds = list[float]()
    while len(seconds) <= REPEATS:
        begin = clock(device)
        work()
        seconds.append(clock(device) - begin)
        if sum(seconds) > SHORT_WORK:
            break
    return sum(seconds[1:]) / len(seconds[1:]) if len(seconds) > 1 else seconds[0]
