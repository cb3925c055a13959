"""Many small curve fits in one call, beside SciPy's `curve_fit` in a loop, in one run.

    python benchmarks/curve_fits.py [--count 10000] [--device cpu] [--threads 2]

One JSON line for each formula and each quality of the start: seconds of both by the clock and of the processor, the
share of data sets at the least cost found by either, how far parameters and covariances are apart where both are there
(parameters relative to their size or standard error, whichever is larger), and the rate of a 1000 × 1000 float64 matrix
product at that time. SciPy gets its defaults for time and success; where its parameters are compared, for some hundred
data sets, its central differences and tolerances of 1e-15.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import curve_fit

import geodescent as gd

Array = NDArray[np.float64]
POINTS, NOISE, SEED = 50, 0.02, 0  # noise as a share of the largest value
COMPARED = 200  # data sets whose digits are compared
SPREADS = (0.3, 0.8)  # standard deviation of the logarithm of a start over the truth


def logarithmic(draw: np.random.Generator, low: float, high: float, count: int) -> Array:
    """Numbers whose logarithms are uniform."""
    return np.exp(draw.uniform(np.log(low), np.log(high), count))


def cases(draw: np.random.Generator, count: int) -> dict[str, tuple[Callable[[Any], Callable[..., Any]], Array, Array]]:
    """Name → the formula in a library m, x, and true parameters (count, K)."""

    def drawn(*ranges: tuple[float, float, bool]) -> Array:
        columns = [logarithmic(draw, a, b, count) if log else draw.uniform(a, b, count) for a, b, log in ranges]
        return np.stack(columns, 1)

    return {
        "exponential with offset": (
            lambda m: lambda x, a, b, c: a * m.exp(-b * x) + c,
            np.linspace(0.0, 4.0, POINTS),
            drawn((0.5, 5.0, True), (0.3, 3.0, True), (-1.0, 1.0, False)),
        ),
        "Gaussian": (
            lambda m: lambda x, a, b, c: a * m.exp(-((x - b) ** 2) / (2 * c**2)),
            np.linspace(-5.0, 5.0, POINTS),
            drawn((0.5, 5.0, True), (-3.0, 3.0, False), (0.4, 2.0, True)),
        ),
        "Hill": (
            lambda m: lambda x, a, k, h: a * x**h / (k**h + x**h),
            np.linspace(0.05, 10.0, POINTS),
            drawn((0.5, 5.0, True), (0.5, 6.0, True), (1.0, 4.0, False)),
        ),
        "logistic": (
            lambda m: lambda x, a, b, c: a / (1 + m.exp(-c * (x - b))),
            np.linspace(0.0, 10.0, POINTS),
            drawn((0.5, 5.0, True), (2.0, 8.0, False), (0.5, 3.0, True)),
        ),
        "damped cosine": (
            lambda m: lambda x, a, b, w: a * m.exp(-b * x) * m.cos(w * x),
            np.linspace(0.0, 6.0, POINTS),
            drawn((0.5, 5.0, True), (0.05, 0.6, True), (1.5, 4.0, True)),
        ),
    }


def matrix_rate() -> float:
    """GF/s of a product of order 1000, the best of five."""
    a, seconds = torch.randn(1000, 1000, dtype=torch.float64), []
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - begin)
    return 2.0 / min(seconds)


def in_a_loop(f: Callable[..., Any], x: Array, y: Array, p0: Array, **options: Any) -> tuple[Array, Array]:
    """SciPy's parameters and covariances; NaN where it raises."""
    popt, pcov = np.full(p0.shape, np.nan), np.full((*p0.shape, p0.shape[1]), np.nan)
    for i in range(len(y)):
        try:
            popt[i], pcov[i] = curve_fit(f, x, y[i], p0[i], **options)
        except (RuntimeError, ValueError):
            continue
    return popt, pcov


def costs(f: Callable[..., Any], x: Array, y: Array, popt: Array) -> Array:
    """½‖f − y‖² of each data set."""
    values = f(x, *popt.T[:, :, None])
    return np.nan_to_num(0.5 * ((values - y) ** 2).sum(1), nan=np.inf)


def apart(f: Callable[..., Any], x: Array, y: Array, p0: Array, fit: gd.BatchedFit) -> tuple[float, float]:
    """The largest difference of parameters, and of covariances relative to standard errors, where both are the best."""
    central = {"method": "trf", "jac": "3-point", "x_scale": "jac", "xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    popt, pcov = in_a_loop(f, x, y, p0, **central)
    ours, theirs = costs(f, x, y, np.asarray(fit.popt)), costs(f, x, y, popt)
    same = np.isfinite(theirs) & (abs(ours - theirs) <= 1e-9 * theirs) & np.isfinite(pcov).all((1, 2))
    error = np.sqrt(np.diagonal(pcov, axis1=1, axis2=2))
    scale = np.maximum(abs(popt), error)
    same &= np.asarray(fit.success) & (abs(np.asarray(fit.popt) - popt) < 0.01 * scale).all(1)  # two signs, aliases
    parameters = abs(np.asarray(fit.popt) - popt) / scale
    covariances = abs(np.asarray(fit.pcov) - pcov) / (error[:, :, None] * error[:, None, :])
    return float(parameters[same].max()), float(covariances[same].max())


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    draw = np.random.default_rng(SEED)
    for name, (formula, x, truth) in cases(draw, given.count).items():
        clean = formula(np)(x, *truth.T[:, :, None])
        y = clean + NOISE * abs(clean).max(1, keepdims=True) * draw.standard_normal(clean.shape)
        for spread in SPREADS:
            p0 = truth * np.exp(spread * draw.standard_normal(truth.shape))
            data = torch.as_tensor(y, device=given.device)
            gd.curve_fit_batched(formula(torch), x, data[:10], p0[:10])  # what torch loads once
            seconds, busy = [], []
            for _ in range(3):
                begin, cpu = time.perf_counter(), time.process_time()
                fit = gd.curve_fit_batched(formula(torch), x, data, p0)
                fit.popt.cpu()
                seconds.append(time.perf_counter() - begin)
                busy.append(time.process_time() - cpu)
            rate, begin, cpu = matrix_rate(), time.perf_counter(), time.process_time()
            popt, _ = in_a_loop(formula(np), x, y, p0)
            loop, loop_busy = time.perf_counter() - begin, time.process_time() - cpu
            ours, theirs = costs(formula(np), x, y, fit.popt.cpu().numpy()), costs(formula(np), x, y, popt)
            least = np.minimum(np.minimum(ours, theirs), costs(formula(np), x, y, truth)) * (1 + 1e-6)
            few = gd.curve_fit_batched(formula(torch), x, y[:COMPARED], p0[:COMPARED])
            digits = apart(formula(np), x, y[:COMPARED], p0[:COMPARED], few)
            line = {
                "case": name,
                "spread": spread,
                "count": given.count,
                "device": given.device,
                "threads": given.threads,
                "seconds": round(float(np.median(seconds)), 3),
                "scipy_seconds": round(loop, 3),
                "cpu_seconds": round(float(np.median(busy)), 3),
                "scipy_cpu_seconds": round(loop_busy, 3),
                "found": round(float((ours <= least).mean()), 4),
                "scipy_found": round(float((theirs <= least).mean()), 4),
                "said_success": round(float(fit.success.double().mean()), 4),
                "parameters_apart": digits[0],
                "covariances_apart": digits[1],
                "nfev": round(float(fit.nfev.double().mean()), 1),
                "matrix_gflops": round(rate, 1),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
