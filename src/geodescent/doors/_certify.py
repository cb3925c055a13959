"""`certify`: what is known before a step, and what limits a fit."""

from typing import Literal

from geodescent._conversion import Values
from geodescent._deadline import within
from geodescent._settings import COST_LEVEL, POSITIVE, RCOND, SECONDS, OneOf, OrNone
from geodescent.certificate import Certificate, certificate_of
from geodescent.doors._arguments import tensors_of
from geodescent.doors._call import door
from geodescent.metric import EUCLIDEAN
from geodescent.outputs import RawInputs, Select
from geodescent.problem import Model, problem_of


@door
def certify(
    model: Model,
    X: RawInputs | None = None,
    y: Values | None = None,
    *,
    weights: Values | None = None,
    target_cost: float | None = None,
    rcond: float | None = None,
    lipschitz: float | None = None,
    metric: Literal["fit", "flow"] = "fit",
    max_seconds: float | None = None,
    select: Select | None = None,
) -> Certificate:
    """What is known at the model's parameters: rank, spectrum, guarantee, floors and the causes of rank loss.

        print(gd.certify(model, X, y))

    Args:
        model: as in `gd.fit`; nothing is changed. Or a whole problem; then X, y and weights are absent.
        X: its samples.
        y: targets in the outputs' shape.
        weights: w ≥ 0, (N,), of single samples.
        target_cost: for the stopping time.
        rcond: relative cut on σ; default max(m, K)·eps from D, at least √(min(m, K)·eps) through G or DᵀD.
        lipschitz: a proven Lipschitz constant L of D, in the metric, on the ball of radius σ_min/L.
        metric: of the parameters, in which σ, rank, rcond, L and lengths are stated: that of `gd.fit`, in which they do
            not depend on units, or the Euclidean one of `gd.flow`. For networks on data of order one they are the same.
        max_seconds: parts that would take longer are left out, and the certificate names them; None for all parts.
        select: picks the outputs from what the model returns, where that is a tuple, a dict or an object.
    """
    OneOf(("fit", "flow")).of("metric", metric)
    target_cost, rcond = OrNone(COST_LEVEL).of("target_cost", target_cost), OrNone(RCOND).of("rcond", rcond)
    lipschitz = OrNone(POSITIVE).of("lipschitz", lipschitz)
    max_seconds = OrNone(SECONDS).of("max_seconds", max_seconds)
    problem = problem_of(model, tensors_of(X, "certify"), y, weights, call="certify", select=select)
    with within(max_seconds, remedy="a larger max_seconds computes it."):
        return certificate_of(
            problem,
            target_cost=target_cost,
            rcond=rcond,
            lipschitz=lipschitz,
            metric=EUCLIDEAN if metric == "flow" else None,
            describe_point=True,
        )
