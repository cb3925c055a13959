"""Optimizers of the equations' benchmark, each from the same start on the same rows; and random features, apart.

Residual and Jacobian come from the same system for all, and gradients by the faster of two ways, so that the seconds
compare the optimizers and not the code that differentiates.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from equations_problems import Case
from equations_run import Run
from numpy.typing import NDArray
from scipy.optimize import line_search
from torch import Tensor, nn

import geodescent as gd
from geodescent import pde
from geodescent.problem import Problem

ADAM_SHARE = 1.0 / 3.0  # Of the budget, before L-BFGS.
WARM_SHARE = 0.1  # Of the budget, Adam before SSBroyden.
Floats = NDArray[np.float64]


# --- ours -----------------------------------------------------------------------------------------------------------


def ours(run: Run, *, choose: bool = True) -> None:
    """`gd.fit(system)` step by step: the start is chosen, where asked for, and the steps are those of the defaults."""
    if choose:
        run.system.choose_start(seconds=run.budget / 5.0)
    optimizer = gd.GeoDescent(run.problem)
    best, lowest = run.problem.theta, float("inf")
    while optimizer.result is None:
        theta = run.problem.theta
        cost = optimizer.step()
        if cost < lowest:
            best, lowest = theta, cost
        if run.note(best, lowest):
            break
    if optimizer.result is not None:
        run.result = optimizer.result.name
        run.note(run.problem.theta, run.problem.cost(run.problem.theta), last=True)


# --- by gradients ---------------------------------------------------------------------------------------------------


def adam(run: Run, until: float, lr: float = 1e-3) -> Tensor:
    """Adam as DeepXDE's examples start it."""
    theta = run.problem.theta.requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=lr)
    while run.seconds < until:
        cost, theta.grad = run.value_and_gradient(theta)
        run.note(theta.detach(), cost)
        optimizer.step()
    return theta.detach()


def adam_lbfgs(run: Run) -> None:
    """Adam, then L-BFGS with a history of 100 and strong Wolfe conditions, as DeepXDE goes on."""
    theta = adam(run, ADAM_SHARE * run.budget).clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=25, history_size=100, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0
    )

    def closure() -> Tensor:
        cost, theta.grad = run.value_and_gradient(theta)
        run.note(theta.detach(), cost)
        return torch.tensor(cost, dtype=torch.float64)

    while run.seconds < run.budget:
        before = theta.detach().clone()
        optimizer.step(closure)
        if torch.equal(before, theta):
            run.result = "the line search stopped"
            return


def soap(run: Run, lr: float = 3e-3) -> None:
    """SOAP of pytorch_optimizer, preconditioned anew every other step, by a cosine over the budget."""
    import pytorch_optimizer

    parameters = list(run.problem.blocks[0].map.parameters().values())
    optimizer = pytorch_optimizer.SOAP(parameters, lr=lr, weight_decay=0.0, precondition_frequency=2)
    over = False
    while not over:
        theta = run.problem.theta
        cost, gradient = run.value_and_gradient(theta)
        over = run.note(theta, cost)
        for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view(parameter.shape)
        share = min(run.seconds / run.budget, 1.0)
        optimizer.param_groups[0]["lr"] = lr * (1e-3 + 0.5 * (1.0 + np.cos(np.pi * share)))
        optimizer.step()


def ss_broyden(run: Run) -> None:
    """Self-scaled Broyden on the inverse Hessian, after Adam for a tenth of the budget; strong Wolfe conditions.

    Source: Urbán, Stefanou and Pons 2025, equations 13 to 23, after Al-Baali and Khalfan; begun again from the identity
    where the line search fails.
    """
    x = adam(run, WARM_SHARE * run.budget).numpy().copy()
    known = dict[bytes, tuple[float, Floats]]()

    def at(point: Floats) -> tuple[float, Floats]:
        key = point.tobytes()
        if key not in known:
            if len(known) > 50:
                known.clear()
            cost, gradient = run.value_and_gradient(torch.from_numpy(point))
            run.note(torch.from_numpy(point), cost)
            known[key] = cost, gradient.numpy()
        return known[key]

    H, fresh = np.eye(len(x)), True
    cost, g = at(x)
    while run.seconds < run.budget:
        d = -H @ g
        alpha = line_search(lambda p: at(p)[0], lambda p: at(p)[1], x, d, g, cost, maxiter=30)[0]
        if alpha is None:
            if fresh:
                run.result = "the line search stopped"
                return
            H, fresh = np.eye(len(x)), True
            continue
        s = alpha * d
        x = x + s
        cost, new = at(x)
        y, g = new - g, new
        H = self_scaled(H, s, y, float(-alpha * s @ (new - y)), fresh=fresh)
        fresh = False


def self_scaled(H: Floats, s: Floats, y: Floats, sBs: float, *, fresh: bool) -> Floats:
    """`H₊ = (H − Hy yᵀH/yᵀHy + φ v vᵀ)/τ + s sᵀ/yᵀs`, v = √(yᵀHy) (s/yᵀs − Hy/yᵀHy).

    Args:
        sBs: sᵀH⁻¹s, which is −α sᵀg before the step.
        fresh: whether H is the identity, which is then scaled to yᵀs/yᵀy first.
    """
    ys = float(y @ s)
    if ys <= 0.0:
        return H
    if fresh:
        scale = ys / float(y @ y)
        H, sBs = scale * H, sBs / scale
    Hy = H @ y
    yHy = float(y @ Hy)
    h, b = yHy / ys, sBs / ys
    a = max(h * b - 1.0, 1e-16)
    rho = min(1.0, h * (1.0 - np.sqrt(a / (1.0 + a))))
    theta = max((rho - 1.0) / a, min(1.0 / rho, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    phi = (1.0 - theta) / sigma
    least = min(1.0, 1.0 / b)
    root = abs(sigma) ** (-1.0 / (len(s) - 1))
    tau = min(least * root, sigma) if theta <= 0.0 else least * min(root, 1.0 / theta)
    v = np.sqrt(yHy) * (s / ys - Hy / yHy)
    return (H - np.outer(Hy, Hy) / yHy + phi * np.outer(v, v)) / tau + np.outer(s, s) / ys


# --- by least squares -----------------------------------------------------------------------------------------------


def levenberg_marquardt(run: Run) -> None:
    """`(DᵀD + μI) v = Dᵀr`, μ a tenth after a success and ten times after a failure, from 1e-3 and not below 1e-16.

    The rule of torch-levenberg-marquardt with its defaults, on the same D: its own, by vmap over jacrev of a module
    that differentiates inside, takes longer.
    """
    theta, damping = run.problem.theta, 1e-3
    residual, jacobian = run.problem.linearise(theta)
    cost = run.problem.cost_of(residual)
    while not run.note(theta, cost):
        D = jacobian.dense()
        gram, gradient = D.T @ D, D.T @ residual
        for _ in range(10):
            factor, failed = torch.linalg.cholesky_ex(gram + damping * torch.eye(len(gram), dtype=gram.dtype))
            moved = theta - torch.cholesky_solve(gradient[:, None], factor)[:, 0] if not failed else theta
            found = run.problem.cost(moved)
            if found < cost:
                damping = max(damping * 0.1, 1e-16)
                break
            damping *= 10.0
        if not found < cost:
            if damping > 1e10:
                run.result = "damping at its bound"
                return
            continue
        theta, cost = moved, found
        residual, jacobian = run.problem.linearise(theta)


def engd(run: Run) -> None:
    """Energy natural gradients: the Gauss–Newton direction by the pseudoinverse, the best of 31 steps 2⁻ᵏ along it.

    Source: Müller and Zeinhofer 2023, whose code takes lstsq of the Gram matrix and this grid of steps; by eigenvalues
    here, cut at lstsq's share K·eps of the largest, which is the same and five times faster.
    """
    theta = run.problem.theta
    sizes = 0.5 ** torch.arange(31, dtype=torch.float64)
    cost = run.problem.cost(theta)
    while not run.note(theta, cost):
        residual, jacobian = run.problem.linearise(theta)
        D = jacobian.dense()
        values, vectors = torch.linalg.eigh(D.T @ D)
        kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
        vectors = vectors[:, kept]
        direction = vectors @ ((vectors.T @ (D.T @ residual)) / values[kept])
        found = min((run.problem.cost(theta - size * direction), size) for size in sizes.tolist())
        if not found[0] < cost:
            run.result = "no step lowers the cost"
            return
        cost, theta = found[0], theta - found[1] * direction


# --- another class of model -----------------------------------------------------------------------------------------


def random_features(case: Case, error: Callable[[pde.System], float], budget: float) -> Run:
    """Sines of random plane waves, of which the amplitudes alone are solved for: one least-squares problem each.

    Of each number of features the scale of the waves is the one with the least residual on fresh points. In the manner
    of FastLSQ; linear equations only.
    """
    run: Run | None = None
    for n in (250, 500, 1000, 2000):
        if run is not None and (run.seconds > budget / 2.0 or n > len(run.problem.target)):
            break
        tried = list[tuple[float, Tensor, pde.System, float]]()
        begin = time.process_time()
        for scale in (1.0, 2.0, 4.0, 8.0, 16.0):
            system = case.system(0, waves_of(n, scale))
            problem = system.problem()
            residual, jacobian = problem.linearise(problem.theta)
            step = torch.linalg.lstsq(jacobian.dense(), -residual[:, None], driver="gelsd", rcond=1e-14).solution[:, 0]
            theta = problem.theta + step
            tried.append((fresh_residual(problem, theta), theta, system, problem.cost(theta)))
        _, theta, system, cost = min(tried, key=lambda found: found[0])
        spent = time.process_time() - begin
        system.problem().write(theta)
        if run is None:
            run = Run(system, error, budget)
            run.begin -= spent
        run.points.append((run.seconds, cost, float("nan")))
        with run.aside():
            run.points[-1] = (*run.points[-1][:2], error(system))
        run.steps, run.problem = run.steps + 1, system.problem()
    assert run is not None
    run.result = "all sizes"
    return run


def waves_of(n: int, scale: float) -> nn.Sequential:
    """Fixed waves of directions at random and their amplitudes, from zero."""
    torch.manual_seed(0)
    net = pde.mlp(2, [n], 1, activation="sin")
    with torch.no_grad():
        net[0].weight.copy_(scale * torch.randn(n, 2, dtype=torch.float64))
        net[0].bias.copy_(2.0 * torch.pi * torch.rand(n, dtype=torch.float64))
        net[2].weight.zero_()
        net[2].bias.zero_()
    net[0].requires_grad_(False)
    return net


def fresh_residual(problem: Problem, theta: Tensor) -> float:
    """Weighted mean square of the residual at other points, of the terms that have others."""
    found = 0.0
    for block in problem.blocks:
        fresh = block.map.fresh(1)
        rows = block.map if fresh is None else fresh
        found += block.weight * float(rows(theta).square().mean())
    return found


METHODS: dict[str, Callable[[Run], None]] = {
    "geodescent": ours,
    "geodescent, start as it is": lambda run: ours(run, choose=False),
    "Adam, L-BFGS": adam_lbfgs,
    "SSBroyden": ss_broyden,
    "SOAP": soap,
    "Levenberg–Marquardt": levenberg_marquardt,
    "ENGD": engd,
}
FEATURES = "random features"
"""Shown apart: another class of model."""
