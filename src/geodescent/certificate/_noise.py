"""What part of the cost of a noisy fit is noise, by samples left out."""

import math
from dataclasses import asdict, dataclass

import torch

from geodescent._deadline import in_time
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.generalisation import left_out_outputs
from geodescent.outputs import SampleMap
from geodescent.problem import Problem

MOST_DECOMPOSED = 5000.0  # Samples, whose Gram matrix is decomposed, of which so many are drawn at most.
LEAST_SHARE = 1e-4  # Of the targets' variance: less is left by the fit itself of data without noise that was stopped.
FLOPS_OF_A_DECOMPOSITION = 9.0  # Times n³, of the eigenvectors of a Gram matrix.


@dataclass(frozen=True)
class Noise:
    """How much of the targets nothing predicts, at the end of a fit that was judged by validation data.

    Attributes:
        cost: C of the samples that were fitted.
        left_out: the cost of each sample as the linearised model without it predicts it.
        noise: about the cost that a perfect model would have, `√(cost · left_out)`: of a linear smoother with ν degrees
            of freedom the residual variance RSS/N is σ²(1 − ν/N), and that of samples left out σ²/(1 − ν/N).
        share: of the targets' variance that the noise is.
    """

    cost: float
    left_out: float
    noise: float
    share: float

    @property
    def sentence(self) -> str:
        """The numbers in words."""
        return (
            f"each sample left out in turn costs {self.left_out:.4g}, those fitted {self.cost:.4g}: about "
            f"{self.noise:.4g}, {self.share:.0%} of the targets' variance, is noise that no model of these inputs "
            "removes"
        )

    @property
    def meaning(self) -> str:
        """What it means, in plain words."""
        return f"About {self.noise:.4g} of the cost is noise: new data of the same kind cost about {self.left_out:.4g}."

    def as_dict(self) -> dict[str, float]:
        """The numbers."""
        return asdict(self)


def noise_at(problem: Problem, theta: Theta, start: Theta) -> Noise | None:
    """What samples left out say at θ; None for several blocks, weighted samples, or where the time does not allow it.

    None too where the noise would be less than LEAST_SHARE of the targets' variance.

    Args:
        problem: of one block over a module and its samples.
        theta: where the fit has ended.
        start: θ₀.

    Cost: a linearisation, a Gram matrix and 9 n³ flops, n = min(N, 5000).
    """
    block = problem.blocks[0]
    if (
        len(problem.blocks) > 1
        or not isinstance(block.map, SampleMap)
        or block.weights is not None
        or block.weight != 1.0
    ):
        return None
    flops = FLOPS_OF_A_DECOMPOSITION * min(block.n_samples, MOST_DECOMPOSED) ** 3
    if not in_time(flops, "what part of the cost is noise", linearisations=1.0):
        return None
    targets = block.target.reshape(block.n_samples, -1)
    try:
        places, outputs = left_out_outputs(block.map, theta, start, targets, interpolates=False)
    except (InputError, MemoryError, RuntimeError):
        return None
    cost = problem.cost(theta)
    missed = float((targets[places.to(targets.device)] - outputs).square().sum(1).mean()) / 2.0
    left_out = max(missed, cost)  # a fit that was ended early misses more than the best linearised one
    variance = float((targets - targets.mean(0)).square().sum(1).mean()) / 2.0
    noise = math.sqrt(cost * left_out)
    found = torch.tensor([left_out, noise, variance], dtype=torch.float64, device="cpu")
    if not bool(torch.isfinite(found).all()) or variance == 0.0:
        return None
    if noise < LEAST_SHARE * variance:
        return None
    return Noise(cost, left_out, noise, min(1.0, noise / variance))
