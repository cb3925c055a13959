"""What samples left out say of noise: what part of a cost it is, and whether a fit has learnt it."""

import math
from dataclasses import asdict, dataclass

from geodescent._deadline import in_time
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.generalisation import left_out_outputs
from geodescent.outputs import SampleMap
from geodescent.problem import Problem

MOST_DECOMPOSED = 5000.0  # Samples, whose Gram matrix is decomposed, of which so many are drawn at most.
LEAST_SHARE = 1e-4  # Of the targets' variance: less is left by the fit itself of data without noise that was stopped.
MOST_LOOKED_AT = 1000  # Samples, of a fit that nothing judged: a look of 0.1 s, for one sentence.
LOOKS_NOISY = 0.1  # Share of the targets' variance: samples left out of smooth functions without noise cost less.
TIMES_FITTED = (
    4.0  # Times the cost of samples fitted: below it a fit has not learnt much more than samples left out show.
)
FLOPS_OF_A_DECOMPOSITION = 9.0  # Times n³, of the eigenvectors of a Gram matrix.


@dataclass(frozen=True)
class Noise:
    """How much of the targets nothing predicts, at the end of a fit that was judged by validation data.

    Attributes:
        cost: C of the samples that were fitted.
        left_out: the cost of each sample as the linearised model without it predicts it.
        noise: about the cost that a perfect model would have, `√(cost · left_out)`: of a linear smoother with ν degrees
            of freedom the residual variance RSS/N is σ²(1 − ν/N), and that of samples left out σ²/(1 − ν/N). Too high
            where the fit has not learnt all that can be learnt: both costs hold what it misses.
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
            f"{self.noise:.4g}, {self.share:.0%} of the targets' variance, is noise, or less, as what the fit has not "
            "learnt counts with it"
        )

    @property
    def meaning(self) -> str:
        """What it means, in plain words."""
        return (
            f"About {self.noise:.4g} of the cost is noise, or less: what the fit has not learnt counts with it. By "
            f"samples left out, new data of the same kind cost about {self.left_out:.4g}."
        )

    @property
    def advice(self) -> str:
        """What to do next."""
        if self.cost < self.left_out:
            return "Use the model as it is: to fit these samples more closely would mostly be to learn noise by heart."
        return (
            "The samples that were fitted are missed by no less than those left out: where steps or time ended the "
            "fit, go on with gd.fit; where validation data did, use the model as it is."
        )

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
    found = _left_out(problem, theta, start, MOST_DECOMPOSED)
    if found is None:
        return None
    cost, left_out, variance = found
    left_out = max(left_out, cost)  # a fit that was ended early misses more than the best linearised one
    noise = math.sqrt(cost * left_out)
    if noise < LEAST_SHARE * variance:
        return None
    return Noise(cost, left_out, noise, min(1.0, noise / variance))


def noise_learnt(problem: Problem, theta: Theta, start: Theta) -> str:
    """A sentence where a fit that nothing judged is likely to have learnt noise; empty where not, or not known.

    It is said where samples left out cost more than a tenth of the targets' variance, and four times as much as those
    fitted: of smooth functions without noise, samples left out cost far less.

    Args: as in `noise_at`; more than 1000 samples are not looked at.
    """
    found = _left_out(problem, theta, start, MOST_LOOKED_AT) if has_samples_to_leave_out(problem) else None
    if found is None:
        return ""
    cost, left_out, variance = found
    block = problem.blocks[0]
    if left_out < LOOKS_NOISY * variance or left_out < TIMES_FITTED * cost:
        return ""
    of_variance = f"{left_out / variance:.0%} of" if left_out < variance else "more than"
    posterior = (
        "gd.fit_posterior(X, y) takes noise into account, and " if block.target.numel() == block.n_samples else ""
    )
    ways = f'{posterior}validation=(X_val, y_val), or stop="validation", ends a fit before it learns noise'
    return (
        f"Each sample left out in turn costs {left_out:.3g}, {of_variance} the targets' variance, and those fitted "
        f"{cost:.3g}: the data look noisy, or are too few for this model; {ways}."
    )


def has_samples_to_leave_out(problem: Problem) -> bool:
    """Whether `noise_learnt` may say something: few samples of one block over a module, without weights."""
    return problem.blocks[0].n_samples <= MOST_LOOKED_AT and _samples(problem) is not None


def _left_out(problem: Problem, theta: Theta, start: Theta, most: float) -> tuple[float, float, float] | None:
    """The cost of samples fitted, of those left out, and of the mean; None where they cannot be had, or not in time.

    Args:
        most: samples that are decomposed at once.
    """
    block, outputs = problem.blocks[0], _samples(problem)
    if outputs is None:
        return None
    flops = FLOPS_OF_A_DECOMPOSITION * min(block.n_samples, most) ** 3
    if not in_time(flops, "what part of the cost is noise", linearisations=1.0):
        return None
    targets = block.target.reshape(block.n_samples, -1)
    try:
        places, foretold = left_out_outputs(outputs, theta, start, targets, interpolates=False)
    except (InputError, MemoryError, RuntimeError):
        return None
    missed = float((targets[places.to(targets.device)] - foretold).square().sum(1).mean()) / 2.0
    variance = float((targets - targets.mean(0)).square().sum(1).mean()) / 2.0
    found = problem.cost(theta), missed, variance
    return found if all(map(math.isfinite, found)) and variance > 0.0 else None


def _samples(problem: Problem) -> SampleMap | None:
    """The map of the samples of a problem of one block, without weights; None for other problems."""
    block = problem.blocks[0]
    plain = len(problem.blocks) == 1 and block.weights is None and block.weight == 1.0
    return block.map if plain and isinstance(block.map, SampleMap) else None
