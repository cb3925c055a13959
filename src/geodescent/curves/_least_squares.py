"""`least_squares` in SciPy's idiom."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.curves._data import device_of
from geodescent.curves._face import UNLIMITED, is_default, limits_of, named, refuse, require_functions
from geodescent.curves._finish import result_of
from geodescent.curves._foreign import once
from geodescent.curves._formula import UserFunction, as_rows, formula_of
from geodescent.curves._losses import Loss, LossName
from geodescent.curves._parameters import Parameters, arrangement_of, parameters_of
from geodescent.curves._results import LeastSquaresResult
from geodescent.curves._rows import Rows, Whitening, real
from geodescent.curves._solve import solve


@once
def least_squares(
    fun: Callable[..., object],
    x0: object,
    jac: Callable[..., object] | str | None = None,
    bounds: object = UNLIMITED,
    method: object = None,
    ftol: float | None = None,
    xtol: object = None,
    gtol: object = None,
    x_scale: object = None,
    loss: LossName = "linear",
    f_scale: float = 1.0,
    diff_step: float | None = None,
    tr_solver: object = None,
    tr_options: object = None,
    jac_sparsity: object = None,
    max_nfev: int | None = None,
    verbose: object = None,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    *,
    workers: object = None,
    max_seconds: float | None = None,
) -> LeastSquaresResult:
    """The x of least `½ Σ C² ρ((f_i(x)/C)²)` near x0, by the descent of `gd.fit`.

        result = gd.least_squares(lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1.0])

    Args:
        fun: residuals, (m,), of an array (K,); of a tensor where it is written in torch, which then differentiates it.
            With named parameters it is called with a dict name → value.
        x0: the start: numbers, or `gd.Parameters`, or lmfit's own.
        jac: their derivative, (m, K); "2-point" or "3-point" differences. Left out, torch computes it, or where the
            function is written in NumPy "2-point" differences with steps of √eps·|x|; `message` says which.
        bounds: lower and upper, each a number or K of them, or SciPy's `Bounds`: x never leaves them.
        ftol: the run ends after a step that lowers the cost by less than this share; None goes on to rounding.
        x_scale: the sizes of the free parameters, rounded to powers of two; None or "jac" where they are found.
        loss, f_scale: ρ and C, as SciPy defines them.
        diff_step: the relative step of differences.
        max_nfev: calls of the function, looked at after each step.
        args, kwargs: passed to fun and jac.
        max_seconds: for the whole run.

    Raises: InputError, for what cannot be asked, with a way out; by its name for an argument that is not supported.
    """
    refuse({"method": method, "xtol": xtol, "gtol": gtol, "tr_solver": tr_solver, "tr_options": tr_options})
    refuse({"jac_sparsity": jac_sparsity, "verbose": verbose or None, "workers": workers})
    require_functions(fun, "fun", "gd.least_squares(fun, x0)", jac)
    robust, limits = Loss(loss, f_scale), limits_of(max_nfev, ftol, max_seconds)
    rest, words = tuple(args), dict(kwargs or {})
    device = device_of(x0, *rest, *words.values())
    start = parameters_of(x0)
    by_name = start is not None
    if start is None:
        start = _plain(x0, bounds)
    elif not is_default(bounds):
        raise InputError("bounds stand in the parameters already: leave bounds out.")
    names = tuple(start.values)
    arrangement = arrangement_of(names, start, x_scale, device)

    def call_of(function: Callable[..., object], name: str) -> UserFunction:
        tensors = tuple(_tensor(a, device) for a in rest)
        named = names if by_name else None
        return UserFunction(
            _WithArguments(function, named, tensors, words), _WithArguments(function, named, rest, words), name
        )

    call, given = call_of(fun, "fun"), call_of(jac, "jac") if callable(jac) else None
    formula = formula_of(call, arrangement, jac, given, diff_step)
    rows = Rows(formula, arrangement.start.new_zeros(_count(formula.rows(arrangement.first))), Whitening(), robust)
    solved = solve(rows, limits)
    return result_of(rows, solved, absolute=False, total_square=math.nan)


@dataclass(frozen=True, eq=False)
class _WithArguments:
    """`x ↦ function(x, *rest, **words)`, x by name where there are names: an object, so that it can be pickled."""

    function: Callable[..., object]
    names: tuple[str, ...] | None
    rest: tuple[object, ...]
    words: dict[str, object]

    def __call__(self, x: Iterable[object]) -> object:
        first = x if self.names is None else dict(zip(self.names, x, strict=True))
        return self.function(first, *self.rest, **self.words)


def _plain(x0: object, bounds: object) -> Parameters:
    values = np.atleast_1d(real(x0, "x0"))
    if values.ndim > 1 or values.size == 0:
        raise InputError(f"x0 has shape {values.shape}: a flat row of numbers is needed.")
    return named(tuple(f"x{j}" for j in range(values.size)), values, bounds)


def _count(rows: Tensor) -> int:
    if len(rows) == 0:
        raise InputError("fun returns no residual: one number or more is needed.")
    return len(rows)


def _tensor(value: object, device: torch.device) -> object:
    """An array as a tensor, for a function that is written in torch; anything else as it is."""
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.number) and not np.iscomplexobj(value):
        return torch.from_numpy(as_rows(value, "args").reshape(value.shape)).to(device)
    return value
