"""Solutions by other methods, which networks are compared with: a formula, a spectral method, SciPy."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dst
from scipy.integrate import solve_ivp
from torch import Tensor

Numbers = NDArray[np.float64]
NODES_OF_FORMULA = 4000  # Of the trapezoid rule in Cole and Hopf's formula.
TAIL = 9.0  # Of s beyond the largest value of f: exp(−81) is below rounding.
POINTS_TOGETHER = 500  # Points whose integrals are taken together: some 50 MB.
RELATIVE, ABSOLUTE = 3e-14, 1e-15  # Relative and absolute, of SciPy's steps: at 1e-12 they are off by 2e-9.


def cole_hopf(points: Tensor, viscosity: float) -> Tensor:
    """u_t + u u_x = ν u_xx from u = −sin πx, at points (t, x), (N,): the formula of Cole and Hopf.

    With y = x − 2√(νt) s and f(y) = exp(−cos(πy)/(2πν) − s²): u = −∫ sin(πy) f ds / ∫ f ds.
    """
    farthest = TAIL + 1.0 / np.sqrt(np.pi * viscosity)  # f(s) > f(0) only where s² < 1/πν
    s = np.linspace(-farthest, farthest, NODES_OF_FORMULA)
    found = list[Numbers]()
    for t, x in (
        (part[:, :1], part[:, 1:]) for part in np.array_split(points.numpy(), -(-len(points) // POINTS_TOGETHER))
    ):
        y = x - np.sqrt(4.0 * viscosity * t) * s
        power = -np.cos(np.pi * y) / (2.0 * np.pi * viscosity) - s * s
        weight = np.exp(power - power.max(1, keepdims=True))
        found.append(-(np.sin(np.pi * y) * weight).sum(1) / weight.sum(1))
    return torch.from_numpy(np.concatenate(found))


def allen_cahn(points: Tensor, diffusion: float, modes: int = 1023) -> Tensor:
    """u_t = ε u_xx + 5u − 5u³ from u = ½ sin πx, zero at x = 0 and 1, at points (t, x), (N,): sines and SciPy.

    Args:
        points: of a product of few times with any places.
        diffusion: ε.
        modes: sines; as many places, evenly spaced, are where u³ is formed.
    """
    wave_numbers = np.pi * np.arange(1, modes + 1)

    def rate(_: float, u: Numbers) -> Numbers:
        bent: Numbers = dst(-diffusion * wave_numbers**2 * _sines(u), 1) / 2.0
        return bent + 5.0 * u - 5.0 * u**3

    start = 0.5 * np.sin(np.pi * np.arange(1, modes + 1) / (modes + 1))
    times, which = np.unique(points[:, 0].numpy(), return_inverse=True)
    values = _at_times(rate, start, times)
    x, found = points[:, 1].numpy(), np.empty(len(points))
    for k, u in enumerate(values):
        places = np.flatnonzero(which == k)
        found[places] = np.sin(np.outer(x[places], wave_numbers)) @ _sines(u)
    return torch.from_numpy(found)


def by_solve_ivp(points: Tensor, rate: Callable[[float, Numbers], object], start: list[float]) -> Tensor:
    """The solution of u' = rate(t, u) at points (t,), (N, F): SciPy's Runge–Kutta method of order 8."""
    times, which = np.unique(points[:, 0].numpy(), return_inverse=True)
    return torch.from_numpy(_at_times(rate, np.array(start), times)[which])


def _sines(u: Numbers) -> Numbers:
    """Coefficients of the sines of a function known at evenly spaced places."""
    coefficients: Numbers = dst(u, 1) / (len(u) + 1)
    return coefficients


def _at_times(rate: Callable[[float, Numbers], object], start: Numbers, times: Numbers) -> Numbers:
    """(number of times, F); steps so short that what is interpolated between them is as good as they are."""
    end = float(times[-1]) or 1.0
    done = solve_ivp(
        rate,
        (0.0, end),
        start,
        "DOP853",
        t_eval=times,
        rtol=RELATIVE,
        atol=ABSOLUTE,
        max_step=end / 500.0,
    )
    values: Numbers = done.y.T
    return values
