"""Formulas with known answers, three starts each: `gd.curve_fit` against SciPy's `lm` and `trf`.

    python benchmarks/formulas.py              # one JSON line for each fit, and a table on standard error

A fit succeeds where its sum of squares is the least that is known, to 1e-6, or without noise 1e-12 of the data's. SciPy
gets its default settings, with x_scale="jac" for `trf` and 10,000 calls; `gd.curve_fit` nothing but the start.
"""

import argparse
import json
import math
import re
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import scipy.optimize
import torch

import geodescent as gd

NOISE = 0.01  # Share of the data's root mean square.
CALLS = 10_000  # Of SciPy.
Formula = Callable[..., object]


@dataclass(frozen=True)
class Case:
    """A formula of (module, x, *parameters), with its answer and starts."""

    name: str
    formula: Formula
    x: np.ndarray
    y: np.ndarray
    answer: tuple[float, ...]
    starts: tuple[tuple[float, ...], ...]
    exact: bool


FORMULAS: dict[str, tuple[Formula, np.ndarray, tuple[float, ...], tuple[tuple[float, ...], ...]]] = {
    "one exponential": (
        lambda m, x, a, b, c: a * m.exp(-b * x) + c,
        np.linspace(0, 5, 40),
        (2.5, 1.3, 0.5),
        ((1, 1, 1), (10, 0.1, 0), (0.1, 5, 2)),
    ),
    "two exponentials": (
        lambda m, x, a, b, c, d: a * m.exp(-b * x) + c * m.exp(-d * x),
        np.linspace(0, 10, 60),
        (3, 0.4, 2, 2.5),
        ((1, 0.1, 1, 1), (5, 1, 5, 10), (2, 0.2, 3, 0.8)),
    ),
    "three exponentials": (
        lambda m, x, a, b, c, d, e, f: a * m.exp(-b * x) + c * m.exp(-d * x) + e * m.exp(-f * x),
        np.linspace(0, 4, 80),
        (0.1, 0.3, 0.9, 1.0, 1.6, 5.0),
        ((0.2, 0.2, 1, 2, 1, 8), (1, 0.5, 1, 1.5, 1, 3), (0.5, 0.1, 0.5, 0.7, 2, 4)),
    ),
    "Gaussian on a baseline": (
        lambda m, x, a, c, w, b, s: a * m.exp(-0.5 * ((x - c) / w) ** 2) + b + s * x,
        np.linspace(0, 20, 80),
        (5, 8, 1.2, 1, 0.1),
        ((1, 9, 1, 0, 0), (3, 6, 3, 2, 0), (8, 10, 2, 0, 0.5)),
    ),
    "two Gaussians": (
        lambda m, x, a, c, w, b, d, v: a * m.exp(-0.5 * ((x - c) / w) ** 2) + b * m.exp(-0.5 * ((x - d) / v) ** 2),
        np.linspace(0, 20, 100),
        (5, 7, 1.2, 3, 12, 2),
        ((3, 6, 1, 3, 13, 1), (1, 8, 2, 1, 11, 3), (4, 5, 1.5, 2, 14, 1.5)),
    ),
    "Hill": (
        lambda m, x, v, k, n: v * x**n / (k**n + x**n),
        np.logspace(-2, 2, 40),
        (4, 1.7, 2.2),
        ((1, 1, 1), (10, 10, 1), (2, 0.2, 3)),
    ),
    "Michaelis-Menten": (
        lambda m, x, v, k: v * x / (k + x),
        np.linspace(0.1, 10, 30),
        (212.7, 0.064),
        ((100, 1), (1, 1), (500, 5)),
    ),
    "logistic growth": (
        lambda m, x, k, r, t: k / (1 + m.exp(-r * (x - t))),
        np.linspace(0, 50, 51),
        (1200, 0.25, 22),
        ((1000, 0.1, 10), (100, 1, 25), (3000, 0.5, 40)),
    ),
    "damped cosine": (
        lambda m, x, a, g, w, p: a * m.exp(-g * x) * m.cos(w * x + p),
        np.linspace(0, 10, 120),
        (2, 0.3, 4, 0.7),
        ((1, 0.1, 3.8, 0), (3, 1, 4.3, 1), (1, 0.5, 3.6, 0.5)),
    ),
    "power law": (
        lambda m, x, a, b, c: a * x**b + c,
        np.linspace(1, 30, 40),
        (0.02, 2.6, 3),
        ((1, 1, 1), (0.1, 2, 0), (5, 0.5, 10)),
    ),
    "Arrhenius": (
        lambda m, x, a, e: a * m.exp(-e / (8.314 * x)),
        np.linspace(300, 400, 30),
        (1.3e13, 8.7e4),
        ((1e13, 8.5e4), (1e12, 8e4), (1e14, 9.2e4)),
    ),
    "pharmacokinetics": (
        lambda m, x, d, ka, ke: d * ka / (ka - ke) * (m.exp(-ke * x) - m.exp(-ka * x)),
        np.linspace(0.25, 24, 40),
        (12, 1.4, 0.15),
        ((5, 2, 0.5), (20, 0.8, 0.05), (1, 1, 0.2)),
    ),
    "light through a gap": (
        lambda m, x, n, q, t: n * m.exp(-x / t) + q,
        np.linspace(0, 1e-6, 50),
        (3e5, 200, 2.2e-7),
        ((1e5, 1, 1e-7), (1e6, 1000, 5e-7), (1e4, 0, 1e-6)),
    ),
}


def cases(names: str) -> Iterator[Case]:
    """Every formula without noise and with it."""
    for name, (formula, x, answer, starts) in FORMULAS.items():
        if re.search(names, name):
            y = np.asarray(formula(np, x, *answer))
            noise = NOISE * math.sqrt(float(np.mean(y**2))) * np.random.default_rng(0).standard_normal(len(x))
            yield Case(name, formula, x, y, answer, starts, True)
            yield Case(f"{name}, noisy", formula, x, y + noise, answer, starts, False)


def in_module(formula: Formula, module: ModuleType, k: int) -> Formula:
    """The formula with its mathematics from one module, of x and k named parameters."""
    names = ", ".join(f"p{j}" for j in range(k))
    made: Formula = eval(f"lambda x, {names}: formula(module, x, {names})", {"formula": formula, "module": module})
    return made


def ways(case: Case) -> dict[str, Callable[[tuple[float, ...]], tuple[np.ndarray, int]]]:
    """Name → start ↦ (parameters, calls)."""
    k = len(case.answer)
    in_numpy, in_torch = in_module(case.formula, np, k), in_module(case.formula, torch, k)

    def ours(f: Formula) -> Callable[[tuple[float, ...]], tuple[np.ndarray, int]]:
        def run(start: tuple[float, ...]) -> tuple[np.ndarray, int]:
            curve = gd.curve_fit(f, case.x, case.y, start, max_seconds=60)
            return curve.popt, curve.result.nfev

        return run

    def scipys(method: str, **settings: object) -> Callable[[tuple[float, ...]], tuple[np.ndarray, int]]:
        def run(start: tuple[float, ...]) -> tuple[np.ndarray, int]:
            fitted = scipy.optimize.curve_fit(
                in_numpy, case.x, case.y, start, method=method, full_output=True, **settings
            )
            return fitted[0], int(fitted[2]["nfev"])

        return run

    return {
        "torch": ours(in_torch),
        "numpy": ours(in_numpy),
        "lm": scipys("lm", maxfev=CALLS),
        "trf": scipys("trf", max_nfev=CALLS, x_scale="jac"),
    }


def square(case: Case, parameters: np.ndarray) -> float:
    """The sum of squares there."""
    return float(np.sum((np.asarray(case.formula(np, case.x, *parameters)) - case.y) ** 2))


def least_known(case: Case) -> float:
    """What counts as the answer's own sum of squares: the least near it."""
    if case.exact:
        return 1e-12 * float(np.sum(case.y**2))
    residuals = lambda s: np.asarray(case.formula(np, case.x, *(s * case.answer))) - case.y  # noqa: E731
    near = scipy.optimize.least_squares(residuals, np.ones(len(case.answer)), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return 2.0 * near.cost * (1.0 + 1e-6)


def main() -> None:
    """A line for each fit, and how many succeeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="?", default="", help="a pattern of names")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    reached, fits, seconds = defaultdict[str, int](int), 0, defaultdict[str, float](float)
    for case in cases(chosen.names):
        goal = least_known(case)
        for number, start in enumerate(case.starts, 1):
            fits += 1
            for way, run in ways(case).items():
                begin, line = time.perf_counter(), {"case": case.name, "start": number, "method": way}
                try:
                    parameters, calls = run(start)
                    least = square(case, parameters)
                except Exception as error:  # a method that gives up is a line of the table
                    parameters, calls, least = np.array(start), 0, math.inf
                    line["error"] = f"{type(error).__name__}: {error}"
                success = least <= goal
                reached[way] += success
                seconds[way] += time.perf_counter() - begin
                line |= {"success": success, "square": least, "goal": goal, "calls": calls}
                print(json.dumps(line | {"seconds": time.perf_counter() - begin}, default=str), flush=True)
    for way, n in reached.items():
        print(f"{way:<6} {n} of {fits} in {seconds[way]:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
