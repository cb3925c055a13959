"""Random formulas: with known parameters, in torch and in NumPy, flat and by name; SciPy is the oracle."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import torch
from fuzz.checks import DIGITS, require, require_close, require_jacobian
from fuzz.draw import Draw
from torch import Tensor

import geodescent as gd

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Formula:
    """f(x, *parameters), in the functions of a library, and parameters of the size of their role."""

    f: Callable[..., Any]
    sizes: tuple[float, ...]


def _line(lib: Any) -> Callable[..., Any]:
    return lambda x, a, b: a + b * x


def _exponential(lib: Any) -> Callable[..., Any]:
    return lambda x, a, b: a * lib.exp(-b * x)


def _on_baseline(lib: Any) -> Callable[..., Any]:
    return lambda x, a, b, c: a * lib.exp(-((x - b) ** 2)) + c


def _saturation(lib: Any) -> Callable[..., Any]:
    return lambda x, a, b: a * x / (b + x)


def _logistic(lib: Any) -> Callable[..., Any]:
    return lambda x, a, b, c: a / (1.0 + lib.exp(-b * (x - c)))


def _wave(lib: Any) -> Callable[..., Any]:
    return lambda x, a, b, c: a * lib.sin(x + b) + c


FORMULAS: tuple[tuple[Callable[[Any], Callable[..., Any]], tuple[float, ...]], ...] = (
    (_line, (1.0, 2.0)),
    (_exponential, (2.0, 0.7)),
    (_on_baseline, (2.0, 1.5, 0.5)),
    (_saturation, (3.0, 1.2)),
    (_logistic, (2.0, 1.5, 1.4)),
    (_wave, (1.5, 0.4, 0.3)),
)


@dataclass(frozen=True)
class Data:
    """Data of a formula in some unit of y: x, y, the true parameters and a start near them."""

    f_numpy: Callable[..., Any]
    f_torch: Callable[..., Any]
    x: Array
    y: Array
    p0: Array


def data_of(draw: Draw) -> Data:
    """Data with noise. All outputs, and the parameters that carry their unit, are multiplied by one scale."""
    make, sizes = draw.choice(FORMULAS)
    unit, n = draw.scale(9.0), draw.randint(len(sizes) + 2, 30)
    x = np.linspace(0.1, 3.0, n)
    truth = np.array([s * 10.0 ** draw.uniform(-0.1, 0.1) for s in sizes])
    noise = draw.choice([0.0, 0.01, 0.1])
    y = unit * (make(np)(x, *truth) + noise * draw.normal(n).numpy())
    p0 = np.array([p * 10.0 ** draw.uniform(-0.1, 0.1) for p in truth])

    def scaled(lib: Any) -> Callable[..., Any]:
        f = make(lib)
        if len(sizes) == 2:
            return lambda x, a, b: unit * f(x, a, b)
        return lambda x, a, b, c: unit * f(x, a, b, c)

    return Data(scaled(np), scaled(torch), x, y, p0)


def function_map(draw: Draw) -> None:
    """D of a formula, flat and by name, and of one that leaves torch with D given, is autograd's; a fit goes down."""
    data = data_of(draw)
    dtype = draw.choice([torch.float64, torch.float32])
    theta0, x, y = (draw.there(torch.from_numpy(part).to(dtype)) for part in (data.p0, data.x, data.y))

    def flat(theta: Tensor) -> Tensor:
        return data.f_torch(x, *theta.unbind())

    dense = torch.autograd.functional.jacobian(flat, theta0)
    kind = draw.choice(["flat", "named", "given"])
    if kind == "named":
        outputs = gd.FunctionMap(
            lambda p: flat(torch.cat([p["a"].reshape(1), p["rest"]])), {"a": theta0[0], "rest": theta0[1:]}
        )
    elif kind == "given":

        def by_numpy(theta: Tensor) -> Tensor:
            return torch.from_numpy(data.f_numpy(x.cpu().numpy(), *theta.detach().cpu().numpy())).to(theta0)

        outputs = gd.FunctionMap(by_numpy, theta0, jacobian=lambda t: torch.autograd.functional.jacobian(flat, t))
    else:
        outputs = gd.FunctionMap(flat, theta0)
    rows, jacobian = outputs.linearise(outputs.theta)
    require_close(rows.reshape(-1), flat(theta0), float(rows.norm()), DIGITS[dtype], "x[θ]")
    require_jacobian(jacobian, dense, DIGITS[dtype], draw.normal)
    problem = gd.Problem((gd.RowBlock("formula", outputs, y),))
    solution = gd.fit(problem, max_steps=5, max_seconds=2.0)
    require(solution.cost <= solution.cost0, f"the cost rose from {solution.cost0!r} to {solution.cost!r}")
    true = float((flat(solution.theta).double() - y.double()).square().sum())
    require(abs(solution.cost - true / (2 * len(x))) <= DIGITS[dtype] * solution.cost0, "the cost is not the formula's")


def given_x(draw: Draw, data: Data) -> Any:
    """x as people hold it: an array, or on another device a tensor, whose device says where the fit is computed."""
    return data.x if draw.device.type == "cpu" else draw.there(torch.from_numpy(data.x))


def curve_fit(draw: Draw) -> None:
    """Never behind SciPy's cost; parameters and covariance are SciPy's where both found one minimum."""
    data = data_of(draw)
    f, k = (data.f_torch, data.f_numpy)[draw.chance(0.5)], len(data.p0)
    arguments: dict[str, Any] = {"p0": data.p0, "absolute_sigma": draw.chance(0.5)}
    size = float(np.abs(data.y).max()) + 1e-300
    if draw.chance(0.4):
        arguments["sigma"] = size * (0.1 + draw.normal(len(data.y)).abs().numpy())
    if draw.chance(0.3):
        arguments["bounds"] = (data.p0 - 10.0 * np.abs(data.p0), data.p0 + 10.0 * np.abs(data.p0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.optimize.OptimizeWarning)
        ours = gd.curve_fit(f, given_x(draw, data), data.y, **arguments)
        try:
            popt, pcov = scipy.optimize.curve_fit(data.f_numpy, data.x, data.y, **arguments)
        except RuntimeError:
            return
    sigma = arguments.get("sigma", 1.0)
    one, two = (float((((data.f_numpy(data.x, *p) - data.y) / sigma) ** 2).sum()) for p in (ours.popt, popt))
    floor = 1e-18 * float(((data.y / sigma) ** 2).sum())
    require(one <= two * (1.0 + 1e-6) + floor, f"χ² is {one!r} and SciPy's {two!r}")
    require(ours.success, f"no success: {ours.message}")
    require(len(ours.report()) > 100 and ours.stderr.shape == (k,), "the report")
    if two > 1e3 * floor and abs(one - two) <= 1e-6 * two and bool(np.isfinite(pcov).all()):
        off = np.abs(ours.pcov - pcov) / np.sqrt(np.outer(np.diag(pcov), np.diag(pcov)))
        require(float(off.max()) < 1e-2, f"the covariance is off by {off.max():.2g} of SciPy's")


def least_squares(draw: Draw) -> None:
    """Bounds are kept, and with every loss the cost is not above SciPy's."""
    data = data_of(draw)
    size = float(np.abs(data.y).max()) + 1e-300
    loss = draw.choice(["linear", "soft_l1", "huber", "cauchy", "arctan"])
    low, high = data.p0 - np.abs(data.p0) * draw.uniform(0.01, 2.0), data.p0 + np.abs(data.p0) * draw.uniform(0.01, 2.0)

    x, y = draw.there(torch.from_numpy(data.x)), draw.there(torch.from_numpy(data.y))
    x0 = data.p0 if draw.device.type == "cpu" else draw.there(torch.from_numpy(data.p0))

    def residuals(p: Any) -> Any:
        if isinstance(p, Tensor):
            return (data.f_torch(x, *p.unbind()) - y) / size
        return (data.f_numpy(data.x, *p) - data.y) / size

    ours = gd.least_squares(residuals, x0, bounds=(low, high), loss=loss, f_scale=0.1)
    theirs = scipy.optimize.least_squares(residuals, data.p0, bounds=(low, high), loss=loss, f_scale=0.1, xtol=1e-10)
    require(bool(((low <= ours.x) & (ours.x <= high)).all()), "a bound is not kept")
    require(ours.cost <= theirs.cost * (1.0 + 1e-4) + 1e-14, f"the cost is {ours.cost!r} and SciPy's {theirs.cost!r}")
    require(np.allclose(ours.fun, residuals(ours.x), rtol=1e-6, atol=1e-9), "fun is not f at x")


FORMULA_DOORS: dict[Callable[[Draw], None], float] = {function_map: 2, curve_fit: 2, least_squares: 1}
"""Door of formulas → how often it is taken."""
