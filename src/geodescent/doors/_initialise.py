"""`initialise`: a start chosen by the data."""

from collections.abc import Iterable, Sequence

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent._settings import ANY_SEED, POSITIVE, Whole
from geodescent.doors._arguments import tensors_of
from geodescent.doors._call import door
from geodescent.generalisation import GAINS, MOST_SAMPLES, ChosenStart, choose_start
from geodescent.outputs import RawInputs, Select
from geodescent.problem import Changes, HasStart, Model, problem_of

FOLDS = Whole(MOST_SAMPLES, least=2)
"""Samples that are left out in turn."""


@door
def initialise(
    model: Model,
    X: RawInputs | None = None,
    y: Values | None = None,
    *,
    weights: Values | None = None,
    select: Select | None = None,
    gains: Sequence[float] = GAINS,
    max_samples: int = MOST_SAMPLES,
    seed: int = 0,
) -> ChosenStart | Changes | None:
    """Multiplies the first layer, in place, by the gain whose linear model has the least leave-one-out cost.

        print(gd.initialise(model, X, y))

    At each gain: `min_λ Σ_i ‖B_ii⁻¹[(G + λ)⁻¹(x − y)]_i‖²/(2N)`; the outputs of a sample are left out together, and so
    are samples with identical inputs. Gains are tried from the one nearest to 1 upwards, else downwards, as long as the
    error falls. The first layer is every linear or convolutional layer whose input depends on no parameter.
    Errors within 10 % of the least count as equal to it, and of these the gain nearest to 1 is taken. Where less than a
    quarter of the samples is used, no gain below 1 is taken, unless 800 samples or more are used and look noisy; where
    fewer look noisy, the gains are tried again on 800 (docs/decisions.md).

    In a problem of several blocks samples are left out of the blocks of samples that give access to their layers and
    have as many outputs as the first of these; other blocks, such as penalties, have no samples to leave out.

    Args:
        model: as in `gd.fit`; only the first layer is changed. Or a whole problem; then X, y, weights are absent.
        X: its samples.
        y: targets in the outputs' shape.
        weights: w ≥ 0, (N,), of single samples.
        select: picks the outputs from what the model returns, where that is not one tensor.
        gains: candidates, > 0.
        max_samples: at most this many samples, a random part of them, are left out in turn.
        seed: of that random part; the global random state is not touched.

    Of a `pde.System` activation, gains by input and, beside built-in conditions, an exponential of the coordinates that
    multiplies the network are chosen by the residual of its equations instead.

    Returns:
        What was found and changed; print it for a table. Without a first layer, or with less than two distinct
        samples, nothing is changed and `reason` says so.

    Raises: InputError, JacobianError, MemoryPlanError: with the numbers and what to do; the model is as it was.
    Cost: for each gain tried, mostly two or three, D or G of a part of the samples and its decomposition: 0.01 to
        0.1 s on the cases measured; the second trial on noisy data 0.15 to 0.2 s.
    """
    factors = tuple(gains) if isinstance(gains, Iterable) else ()
    if not factors or not all(POSITIVE.allows(gain) for gain in factors):
        shown = factors or gains
        raise InputError(f"gains = {shown}: positive, finite factors are needed, for example gains=(0.5, 1, 2, 4).")
    max_samples = FOLDS.of("max_samples", max_samples)
    seed = ANY_SEED.of("seed", seed)
    if isinstance(model, HasStart):
        return model.choose_start(seed=seed)
    problem = problem_of(model, tensors_of(X, "initialise"), y, weights, call="initialise", select=select)
    return choose_start(problem, [float(gain) for gain in factors], max_samples, seed)
