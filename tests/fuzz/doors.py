"""Every door on a random case, and what must hold of its answer."""

import copy
import pickle
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from fuzz.cases import Case
from fuzz.checks import (
    DIGITS,
    by_autograd,
    call,
    cost_by_hand,
    digits_of,
    flat,
    nudged,
    require,
    require_close,
    require_cost,
    require_jacobian,
)

import geodescent as gd

SECONDS = 2.0  # A case that takes longer than this ends with what it has.


def is_rounding(case: Case) -> bool:
    """Whether D is made of rounding errors: the outputs hardly move where each parameter changes by itself."""
    moved = float((case.dense * flat(case.model).abs()).norm())
    return moved <= 1e4 * torch.finfo(case.dense.dtype).eps * float(case.outputs.norm())


def jacobian(case: Case) -> None:
    """D and its products, at θ and elsewhere; some samples are some rows."""
    outputs = gd.SampleMap(case.model, case.X)
    x, ours = outputs.linearise()
    if not bool(case.dense.isfinite().all()):
        require(bool(torch.equal(x.isfinite(), case.outputs.reshape(x.shape).isfinite())), "which outputs are finite")
        return
    if case.net.is_at_kinks or is_rounding(case):
        return
    require_close(x.reshape(-1), case.outputs.reshape(-1), float(x.norm()) + 1e-300, DIGITS[x.dtype], "x[θ]")
    digits = digits_of(case.model, case.X, case.dense)
    require_jacobian(ours, case.dense, digits, case.draw.normal)
    n, q = x.shape
    few = sorted(case.draw.sample(range(n), case.draw.randint(case.net.least, n)))
    rows = case.dense.view(n, q, -1)[few].reshape(len(few) * q, -1)
    part = outputs.at(few).linearise()[1].dense()
    require_close(part, rows, float(case.dense.norm()), digits, "D of some samples")
    if case.draw.chance(0.6):
        return
    theta = outputs.theta + 0.1 * case.draw.normal(outputs.n_params).to(x) * (outputs.theta.abs() + 0.1)
    elsewhere = outputs.linearise(theta)[1].dense()
    moved = copy.deepcopy(case.model)
    gd.SampleMap(moved, case.X, check=False).write(theta)
    require(torch.equal(flat(moved), theta), "write has not written θ")
    other = by_autograd(moved, case.X)
    if bool(other.isfinite().all()):
        digits = digits_of(moved, case.X, other)
        require_close(elsewhere, other, float(other.norm()), 10.0 * digits, "D elsewhere")


def lifted(case: Case) -> None:
    """D_μ v by each lift is that of a dense solve."""
    outputs = gd.SampleMap(case.model, case.X)
    ours = outputs.linearise()[1].to(torch.float64)
    dense = ours.dense()
    if not bool(dense.isfinite().all()) or not bool(dense.any()):
        return
    m = len(dense)
    v = case.draw.there(case.draw.normal(m))
    damping = 10.0 ** case.draw.uniform(-6.0, 2.0) * float(dense.square().sum()) / m
    gram = dense @ dense.T + damping * torch.eye(m, dtype=torch.float64, device=dense.device)
    expected = dense.T @ torch.linalg.solve(gram, v)
    size = float(v.norm()) / (2.0 * damping**0.5)
    for lift in (gd.GramLift(), gd.NormalLift(), gd.KrylovLift()):
        found = lift.prepare(ours).lift(v, damping=damping)
        if found.converged:  # which iterations do not where the range of float32 ends
            require_close(found.velocity, expected, size, 1e-7, f"the velocity by {lift.name}")
        require(found.converged or lift.name == "krylov", f"{lift.name} has not converged")


def method_of(case: Case) -> gd.Method | None:
    draw = case.draw
    if draw.chance(0.35):
        return None
    lift = draw.choice([gd.GramLift(), gd.NormalLift(), gd.KrylovLift(), None])
    walk = draw.choice([gd.EulerWalk(), gd.GeodesicWalk(), gd.EulerWalk(step_size=0.5), None])
    control = draw.choice([gd.NaturalControl(), gd.GainRatio(), gd.Spring(), None])
    return gd.Method(lift, walk, control)


def fit(case: Case) -> None:
    """The cost is the module's, below the start's; θ is the module's; the answer prints and can be pickled."""
    draw, start = case.draw, case.outputs
    by_validation = draw.chance(0.1)
    steps = draw.randint(0, 6)
    arguments: dict[str, object] = {"method": method_of(case), "max_steps": steps, "max_seconds": SECONDS}
    if by_validation:
        arguments["stop"] = "validation"
    elif draw.chance(0.1):
        arguments["initialise"] = True
    elif draw.chance(0.1):
        arguments["validation"] = case.more(draw.size(10))  # which then decides, unless the cost is asked for
        by_validation = draw.chance(0.5)
        arguments["stop"] = None if by_validation else "cost"
    seen = list[gd.StepRecord]()
    solution = gd.fit(case.model, case.X, case.y, weights=case.weights, callback=seen.append, **arguments)  # type: ignore[arg-type]
    require(torch.equal(solution.theta, flat(case.model)), "solution.theta is not the module's")
    require(solution.steps <= steps and len(seen) == solution.steps, f"{solution.steps} steps, {len(seen)} records")
    if not by_validation:
        rounded = 1.0 + 1e-9
        outputs = call(case.model, case.X)
        others = partial(nudged, case.model, case.X)
        require_cost(solution.cost, outputs, case.y, case.weights, "solution.cost", others)
        require(solution.cost <= solution.cost0, f"the cost rose from {solution.cost0!r} to {solution.cost!r}")
        require(solution.cost <= rounded * np.min(solution.history["cost"]), "a better point was passed on the way")
        if "initialise" not in arguments:
            require_cost(solution.cost0, start, case.y, case.weights, "solution.cost0")
    kept(case, solution)


def kept(case: Case, answer: gd.Solution | gd.Flow) -> None:
    """What is printed, and what a pickle brings back, of some answers: certificates take longer than short fits."""
    if case.draw.chance(0.65):
        return
    require(len(str(answer)) > 50 and len(repr(answer)) < 200, "what is printed")
    made = answer.certificate
    back = pickle.loads(pickle.dumps(answer))
    require(torch.equal(back.theta, answer.theta), "theta of a pickled answer")
    require(str(back.certificate) == str(made), "the certificate of a pickled answer")
    require("nothing was computed" not in str(made), f"no certificate: {made}")


def flow(case: Case) -> None:
    """The cost at the end is the module's, and it does not rise on the way."""
    start = case.outputs
    path = gd.flow(case.model, case.X, case.y, until=0.2, tol=1e-3, max_seconds=0.1, weights=case.weights)
    require(torch.equal(path.theta, flat(case.model)), "flow.theta is not the module's")
    require_cost(path.cost0, start, case.y, case.weights, "flow.cost0")
    require_cost(float(path.cost[-1]), call(case.model, case.X), case.y, case.weights, "flow.cost")
    kept(case, path)


def certify(case: Case) -> None:
    """Rank and singular values are those of D."""
    before = flat(case.model)
    known = gd.certify(case.model, case.X, case.y, weights=case.weights, metric=case.draw.choice(["fit", "flow"]))
    require(torch.equal(before, flat(case.model)), "certify has moved the parameters")
    require_cost(known.cost, case.outputs, case.y, case.weights, "certificate.cost")
    require(len(str(known)) > 50, "what is printed")
    dense = case.dense.double()
    require((known.n_residuals, known.n_params) == tuple(dense.shape), "m and K")
    if known.metric is not None or known.rcond is None or known.sigma_max is None or case.weights is not None:
        return
    if is_rounding(case):
        return
    sigma = torch.linalg.svdvals(dense)
    top, digits = float(sigma[0]), digits_of(case.model, case.X, case.dense)
    require(abs(known.sigma_max - top) <= digits * top, f"σ_max is {known.sigma_max} and that of D {top}")
    near = 30.0 if case.dense.dtype == torch.float64 else 1e4
    least, most = (int((sigma > cut * known.rcond * top).sum()) for cut in (near, 1.0 / near))
    require(known.rank is not None and least <= known.rank <= most, f"rank {known.rank}, not {least} to {most}")


def initialise(case: Case) -> None:
    """The start is finite, and what was done is said."""
    chosen = gd.initialise(case.model, case.X, case.y, weights=case.weights)
    require(len(str(chosen)) > 20, "what is printed")
    require(bool(call(case.model, case.X).isfinite().all()) or not np.isfinite(case.cost), "outputs are not finite")


def optimizer(case: Case) -> None:
    """Steps by X and y, and by closures, are the same; the cost before each is the module's."""
    model, twin = case.model, copy.deepcopy(case.model)
    first, second = gd.GeoDescent(model), gd.GeoDescent(twin)
    y = case.y.reshape(case.outputs.shape)

    def closure() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            if isinstance(case.X, dict):
                return twin(**case.X), y
            return twin(*case.X) if isinstance(case.X, tuple) else twin(case.X), y

    for step in range(case.draw.randint(1, 3)):
        before = call(model, case.X)
        require_cost(first.step(case.X, y), before, y, None, f"the cost before step {step + 1}")
        if step == 0:
            require_cost(second.step(closure), before, y, None, "the cost before the closure's step")


def blocks(case: Case) -> None:
    """Of several blocks of rows: the cost, the residual and the gradient are those of the weighted sum."""
    draw, model = case.draw, case.model
    theta0 = flat(model)
    size = gd.FunctionMap(lambda theta: theta, theta0)
    other_x, other_y = case.more(draw.size(10))
    weights = [10.0 ** draw.uniform(-3.0, 3.0) for _ in range(3)]
    parts = (
        gd.RowBlock("data", gd.SampleMap(model, case.X), case.y, case.weights, weight=weights[0]),
        gd.RowBlock("more", gd.SampleMap(model, other_x), other_y, weight=weights[1]),
    )
    with_size = not isinstance(theta0, torch.nn.Module) and draw.chance(0.7)
    if with_size:
        parts = (*parts, gd.RowBlock("size", size, torch.zeros_like(theta0), weight=weights[2]))
    problem = gd.Problem(parts)

    def by_hand() -> float:
        cost = weights[0] * cost_by_hand(call(model, case.X), case.y, case.weights)
        cost += weights[1] * cost_by_hand(call(model, other_x), other_y, None)
        theta = flat(model).double()
        return cost + (weights[2] * float(theta @ theta) / (2.0 * len(theta)) if with_size else 0.0)

    true, start = by_hand(), problem.cost(problem.theta)
    if not np.isfinite(true):
        return
    digits = DIGITS[theta0.dtype]
    require(abs(start - true) <= digits * true, f"the cost is {start!r} and by hand {true!r}")
    r, B = problem.linearise(problem.theta, dtype=torch.float64)
    require(abs(float(r @ r) / (2.0 * problem.n_samples) - true) <= digits * true, "‖r‖²/(2N) is not the cost")
    solution = gd.fit(problem, max_steps=3, max_seconds=SECONDS, method=method_of(case))
    require(torch.equal(solution.theta, flat(model)), "solution.theta is not the module's")
    require(solution.cost <= start, f"the cost rose from {start!r} to {solution.cost!r}")
    require(abs(solution.cost - by_hand()) <= digits * true, f"the cost is {solution.cost!r} and by hand {by_hand()!r}")
    require(B.shape == (problem.n_residuals, problem.n_params), "the shape of B")


DOORS: dict[Callable[[Case], None], float] = {
    jacobian: 6,
    lifted: 1,
    fit: 6,
    flow: 1,
    certify: 1.5,
    initialise: 1,
    optimizer: 2,
    blocks: 1,
}
"""Door → how often it is taken."""
