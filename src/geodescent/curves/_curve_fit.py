"""`curve_fit` in SciPy's idiom."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._settings import OneOf
from geodescent.curves._data import Data, data_of, device_of
from geodescent.curves._face import UNLIMITED, bounds_of, is_default, limits_of, named, refuse, require_functions
from geodescent.curves._finish import result_of, warn_of
from geodescent.curves._foreign import once
from geodescent.curves._formula import Formula, UserFunction, formula_of
from geodescent.curves._kept import Kept
from geodescent.curves._losses import Loss, LossName
from geodescent.curves._parameters import Parameters, arrangement_of, parameters_of
from geodescent.curves._results import CurveFit
from geodescent.curves._rows import Rows, real, whitening_of
from geodescent.curves._solve import solve
from geodescent.curves._statistics import Array
from geodescent.outputs import FunctionMap


@once
def curve_fit(
    f: Callable[..., object],
    xdata: object,
    ydata: object,
    p0: object = None,
    sigma: object = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: object = UNLIMITED,
    method: object = None,
    jac: Callable[..., object] | str | None = None,
    *,
    full_output: bool = False,
    nan_policy: str | None = None,
    x_scale: object = None,
    loss: LossName = "linear",
    f_scale: float = 1.0,
    diff_step: float | None = None,
    ftol: float | None = None,
    xtol: object = None,
    gtol: object = None,
    max_nfev: int | None = None,
    max_seconds: float | None = None,
) -> CurveFit:
    """Fits `ydata ≈ f(xdata, *parameters)` by the descent of `gd.fit`; SciPy's signature.

        popt, pcov = gd.curve_fit(lambda x, size, rate: size * np.exp(-rate * x), x, y)
        print(gd.curve_fit(f, x, y).report())

    Args:
        f: of x and each parameter: in torch, which then differentiates it, or in NumPy.
        xdata: handed to f: an array (m,) or (n, m), as a tensor to an f in torch; anything else as it is.
        ydata: the data; f returns as many numbers. NaN in them are an error, unless nan_policy is "omit".
        p0: the start: numbers, `gd.Parameters`, or lmfit's own. None for ones, inside of the bounds, with the names and
            the number of parameters from f's arguments.
        sigma: standard deviations of the data, one or (m,), or their covariance, (m, m).
        absolute_sigma: whether sigma is meant as it stands, and not only in its ratios.
        check_finite: whether infinite and NaN data are an error; True unless nan_policy is given.
        bounds: lower and upper, each a number or K of them, or SciPy's `Bounds`: parameters never leave them.
        jac: derivative of f by the parameters, `jac(x, *parameters)`, (m, K); "2-point" or "3-point" differences.
            Left out, torch computes it, or for an f in NumPy "2-point" differences with steps of √eps·|p|.
        full_output: whether the result unpacks into SciPy's five.
        nan_policy: "raise", or "omit" to leave out data with NaN.
        x_scale, loss, f_scale, diff_step, ftol, max_nfev, max_seconds: as of `least_squares`; the loss is of (f − y)/σ.

    Returns: a result that unpacks as popt, pcov. Where no minimum was reached `success` is False and SciPy's
        OptimizeWarning is given.

    Raises: InputError, for what cannot be asked, with a way out; by its name for an argument that is not supported.
    """
    refuse({"method": method, "xtol": xtol, "gtol": gtol})
    require_functions(f, "f", "gd.curve_fit(f, xdata, ydata)", jac)
    for name, value in (("absolute_sigma", absolute_sigma), ("full_output", full_output)):
        OneOf((False, True)).of(name, value)
    OneOf((None, False, True)).of("check_finite", check_finite)
    robust, limits = Loss(loss, f_scale), limits_of(max_nfev, ftol, max_seconds)
    data = data_of(xdata, ydata, sigma, check_finite, nan_policy, device_of(xdata, ydata, p0))
    arguments = arguments_of(f)
    start = start_of(arguments, p0, bounds)
    arrangement = arrangement_of(tuple(start.values), start, x_scale, data.device)
    given = call_of(jac, data, "jac") if callable(jac) else None
    formula = formula_of(call_of(f, data, "f"), arrangement, jac, given, diff_step)
    whiten = whitening_of(data.sigma, len(data.y), data.device)
    rows = Rows(formula, data.y, whiten, robust)
    solved = solve(rows, limits)
    ones, wanted = whiten(torch.ones_like(data.y)), whiten(data.y)
    away = wanted - ones * (ones @ wanted) / (ones @ ones)
    result = result_of(rows, solved, absolute=absolute_sigma, total_square=float(away.square().sum()))
    warn_of(result)
    statistics = result.told.statistics
    scatter = None if sigma is not None else np.sqrt(statistics.reduced_chi_square)
    slopes = Kept(_Elsewhere(f, jac, data, formula, solved.u))
    return CurveFit(result, result.x, statistics.covariance, result.told, slopes, scatter, full_output)


@dataclass(frozen=True, eq=False)
class _AtData:
    """`p ↦ function(x, *p)`: an object, so that it can be pickled."""

    function: Callable[..., object]
    x: object

    def __call__(self, parameters: Iterable[object]) -> object:
        return self.function(self.x, *parameters)


def call_of(function: Callable[..., object], data: Data, name: str) -> UserFunction:
    """The function at these data."""
    return UserFunction(_AtData(function, data.x_in_torch), _AtData(function, data.x), name)


def arguments_of(f: Callable[..., object]) -> tuple[str, ...]:
    """The names of f's parameters after x; none where they cannot be read."""
    try:
        every = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return ()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return () if any(p.kind is p.VAR_POSITIONAL for p in every) else tuple(p.name for p in every if p.kind in plain)[1:]


def start_of(arguments: tuple[str, ...], p0: object, bounds: object) -> Parameters:
    """The first parameters, in the order of f's arguments. Raises InputError, where these are not known."""
    if p0 is None:
        if not arguments:
            raise InputError("the parameters of f cannot be read from its signature: pass p0, one number for each.")
        low, high = bounds_of(bounds, len(arguments))
        return named(arguments, _inside(low, high), bounds)
    start = parameters_of(p0)
    if start is None:
        values = np.atleast_1d(real(p0, "p0"))
        if values.ndim > 1 or values.size == 0:
            raise InputError(f"p0 has shape {values.shape}: a flat row of numbers is needed.")
        fits = len(arguments) == values.size
        if arguments and not fits:
            raise InputError(f"p0 holds {values.size} numbers and f takes {len(arguments)}: {', '.join(arguments)}.")
        return named(arguments if fits else tuple(f"p{j}" for j in range(values.size)), values, bounds)
    if not is_default(bounds):
        raise InputError("bounds stand in the parameters already: leave bounds out.")
    if arguments and set(arguments) != set(start.values):
        raise InputError(
            f"the parameters are {', '.join(start.values)} and f takes {', '.join(arguments)}: name them so."
        )
    ordered = arguments or tuple(start.values)
    return replace(start, values={name: start.values[name] for name in ordered})


def _inside(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """SciPy's start: 1, or 1 from the only bound, or the middle."""
    values = np.ones(len(low))
    below, above = np.isfinite(low), np.isfinite(high)
    values[below & above] = 0.5 * (low[below & above] + high[below & above])
    values[below & ~above] = low[below & ~above] + 1.0
    values[~below & above] = high[~below & above] - 1.0
    return values


@dataclass(frozen=True, eq=False)
class _Elsewhere:
    """`x ↦ (f, ∂f/∂all)` with the fitted parameters.

    Attributes:
        f, jac: of the user's.
        data: those of the fit, or others like them.
        formula: as it was fitted.
        u: the free parameters.
    """

    f: Callable[..., object]
    jac: Callable[..., object] | str | None
    data: Data
    formula: Formula
    u: Tensor

    def __call__(self, x: object) -> tuple[Array, Array]:
        elsewhere, u = self.data.at(x), self.u
        given = call_of(self.jac, elsewhere, "jac") if callable(self.jac) else None
        arrangement = replace(self.formula.arrangement, start=self.formula.arrangement.full(u))
        formula = replace(self.formula, call=call_of(self.f, elsewhere, "f"), given=given, arrangement=arrangement)
        derivative, back = formula.derivative(), torch.linalg.pinv(arrangement.derivative(u))
        if derivative is not None:
            return formula.rows(u).cpu().numpy(), (derivative(u) @ back).cpu().numpy()
        outputs, jacobian = FunctionMap(formula.rows, u).linearise(u)
        return outputs.cpu().numpy(), (jacobian.dense() @ back).cpu().numpy()
