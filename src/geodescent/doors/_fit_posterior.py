"""`fit_posterior`: what the data bear, with error bars and no knob."""

from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor, nn

from geodescent._conversion import Values, tensor_of
from geodescent._deadline import within
from geodescent._errors import InputError
from geodescent._settings import ANY_SEED, POSITIVE, OrNone, Whole
from geodescent._threads import one_thread_for_few
from geodescent.doors._call import door
from geodescent.generalisation import OwnModel, Posterior, TuningRecord, drawn_layers, posterior_of, starts_of_own
from geodescent.problem import require_squares

FEWEST_ROWS = 3  # Rows of positive weight: of two no noise can be told from what is to be learnt.
STARTS = Whole(5, least=1)
"""Networks whose posteriors are averaged."""


@door
def fit_posterior(
    X: Values,
    y: Values,
    model: OwnModel | None = None,
    *,
    weights: Values | None = None,
    starts: int = 5,
    seed: int = 0,
    max_seconds: float | None = None,
    callback: Callable[[TuningRecord], None] | None = None,
) -> Posterior:
    """Empirical Bayes of the linearised network: predictions with error bars of noisy data, with nothing to choose.

        posterior = gd.fit_posterior(X, y)
        mean, (lower, upper) = posterior.predict(X_new), posterior.interval(X_new, level=0.9)
        posterior.left_out_rmse                       # the error to expect of new rows; none was held out

    The targets are modelled by `w·x + b + MLP(s ∘ x)`, two layers of 64 units, linearised at its start: a Gaussian
    process of covariance `G = D diag(pv) Dᵀ`, with one prior variance a layer and one scale an input, and a covariance
    of steps in the ranks of the inputs beside it. These numbers and the noise maximise
    `log p(y) = −½ yᵀ(G + σ²)⁻¹y − ½ log det(G + σ²) + log p(numbers)`; five starts are averaged. Inputs and targets are
    standardised here: answers do not depend on units.

    Args:
        X: numbers, (N, d), of any kind that `gd.fit` takes.
        y: targets, (N,) or (N, Q).
        model: in the place of the MLP: a module of one output whose parameters are those of `nn.Linear` layers, or a
            function of a seed that returns one, for several starts. It gets standardised inputs times their scales;
            weights are N(start, v_l/fan-in), v_l in the first layer, biases N(start, v_l). The linear part and the
            steps stay beside it. It is copied, in float64, and never changed.
        weights: how often each row counts, w ≥ 0, (N,); rows of weight 0 are left out. They are numbers of repetitions:
            the rows of weight 2 are repeated exactly, and that tells of little noise. Importances are to be divided by
            the largest of them.
        starts: networks whose posteriors are averaged.
        seed: of the first start; the others follow. The global random state is not touched.
        max_seconds: when tuning ends and no further start is added.
        callback: called with a record, of cost, noise and seconds, of each better trial of the numbers.

    Returns:
        The posterior: `predict`, `standard_deviation`, `interval`, `left_out`, `left_out_rmse`, `noise`, `notes`, and
        `network`, a plain module. Its numbers are tensors of float64 on the CPU, whatever X and y were.

    Raises: InputError: with the numbers and what to do.
    Cost: some 40 N'³, N' = min(N, 1000), and 5 N³ multiply-adds: half a second for 300 rows of ten columns on one core.
        More than 5,000 rows are solved by conjugate gradients, with 4 N² bytes: 20,000 take a minute of two cores. Of
        more than 20,000 as many are drawn. `notes` says what was done.
    Source: MacKay, *Bayesian interpolation* (1992), for the evidence; docs/decisions.md for the prior.
    """
    starts, seed = STARTS.of("starts", starts), ANY_SEED.of("seed", seed)
    starts = 1 if isinstance(model, nn.Module) else starts  # others would be the same
    OrNone(POSITIVE).of("max_seconds", max_seconds)
    inputs, targets = _numbers(X, "X"), _numbers(y, "y")
    _require_rows(inputs, targets)
    counts = inputs.new_ones(len(inputs)) if weights is None else _numbers(weights, "weights")
    kept = _kept(inputs, counts)
    with torch.inference_mode(False), within(max_seconds), one_thread_for_few(len(kept)):
        draw = drawn_layers if model is None else starts_of_own(_drawable(model))
        return posterior_of(
            inputs[kept], targets[kept], counts[kept], starts=starts, seed=seed, draw=draw, callback=callback
        )


def _drawable(model: OwnModel) -> OwnModel:
    """The model; raises InputError for a class in the place of a module, and for a function that takes no seed."""
    if isinstance(model, type):
        raise InputError(
            f"model is the class {model.__name__}: pass a module, {model.__name__}(…), or for several starts a "
            f"function of a seed, lambda seed: {model.__name__}(…)."
        )
    if not isinstance(model, nn.Module) and callable(model):
        try:
            signature(model).bind(0)
        except TypeError as error:
            raise InputError(
                f"model cannot be called with a seed ({error}): pass a function of one number, lambda seed: "
                "torch.nn.Sequential(…)."
            ) from error
        except ValueError:
            return model  # built in: it has no signature to look at
    return model


def _numbers(values: Values, what: str) -> Tensor:
    """In float64 on the host; raises InputError for what is not finite."""
    found = tensor_of(values, torch.empty(0, dtype=torch.float64, device="cpu"), what)
    found = found.detach().to("cpu", torch.float64)
    wrong = int((~torch.isfinite(found)).sum())
    if wrong:
        raise InputError(f"{what} holds {wrong} NaN or infinite values: fill them in, or drop these rows.")
    require_squares(found, what)
    return found


def _require_rows(inputs: Tensor, targets: Tensor) -> None:
    """Raises InputError for shapes that do not go together."""
    if inputs.dim() != 2 or inputs.shape[1] == 0:
        shaped = f"X has shape {tuple(inputs.shape)}: rows of numbers, (N, d), are needed"
        if inputs.dim() < 2:
            raise InputError(f"{shaped}: X.reshape(-1, 1) for one column, X.reshape(1, -1) for one row.")
        raise InputError(
            f"{shaped}: X.reshape(len(X), -1). A model of images or sequences is trained by gd.fit(model, X, y, "
            'stop="validation").'
        )
    if targets.dim() not in (1, 2) or len(targets) != len(inputs) or targets.numel() == 0:
        shapes = f"y has shape {tuple(targets.shape)} and X {tuple(inputs.shape)}"
        raise InputError(f"{shapes}: one target a row is needed, (N,) or (N, Q).")


def _kept(inputs: Tensor, counts: Tensor) -> Tensor:
    """The rows of positive weight; raises InputError where there are too few."""
    if counts.shape != (len(inputs),):
        raise InputError(
            f"weights have shape {tuple(counts.shape)}: one number w ≥ 0 a row, ({len(inputs)},), is needed."
        )
    if bool((counts < 0.0).any()):
        raise InputError(f"weights hold {int((counts < 0.0).sum())} numbers below 0: w ≥ 0 is needed.")
    kept = counts.nonzero()[:, 0]
    if len(kept) < FEWEST_ROWS:
        raise InputError(f"{len(kept)} rows of positive weight are too few: {FEWEST_ROWS} or more are needed.")
    return kept
