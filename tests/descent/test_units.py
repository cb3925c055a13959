"""In any units: what is found, in how many steps, and with how many digits."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import GainRatio, Method

F64 = torch.float64
T = torch.linspace(0.05, 3.0, 40, dtype=F64)
NOISE = 0.01 * torch.sin(37.0 * T) + 0.01 * torch.cos(91.0 * T)
FORMULAS: dict[str, tuple[Any, list[float], list[float]]] = {
    "decay": (lambda b: b[0] * torch.exp(-b[1] * T) + b[2], [2.0, 1.3, 0.5], [1.0, 0.4, 0.0]),
    "Hill": (lambda b: b[0] * T ** b[2] / (b[1] ** b[2] + T ** b[2]), [3.0, 1.2, 2.5], [1.0, 0.5, 1.0]),
    "oscillation": (lambda b: b[0] * torch.exp(-b[1] * T) * torch.cos(b[2] * T), [1.5, 0.4, 4.0], [1.0, 0.1, 3.7]),
    "peak": (
        lambda b: b[0] * torch.exp(-(((T - b[1]) / b[2]) ** 2)) + b[3],
        [2.0, 1.6, 0.4, 0.3],
        [1.0, 1.2, 0.8, 0.0],
    ),
}
LIFTS = {"planned": None, "normal": gd.NormalLift(), "Krylov": gd.KrylovLift()}
CONTROLS = {"planned": None, "gain ratio": GainRatio()}


def in_units(formula: Any, true: list[float], start: list[float], powers: list[int], y_power: int) -> gd.Problem:
    """`y·10^p` of parameters `b_j·10^(k_j)`."""
    units, size = 10.0 ** torch.tensor(powers[: len(start)], dtype=F64), 10.0**y_power
    target = size * (formula(torch.tensor(true, dtype=F64)) + NOISE)
    outputs = gd.FunctionMap(lambda phi: size * formula(phi / units), torch.tensor(start, dtype=F64) * units)
    return gd.Problem.over(outputs, target)


@pytest.mark.parametrize("lift", LIFTS.values(), ids=LIFTS)
@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
@pytest.mark.parametrize(("formula", "true", "start"), FORMULAS.values(), ids=FORMULAS)
def test_a_formula_in_other_units_is_fitted_alike(
    formula: Any, true: list[float], start: list[float], lift: gd.Lift | None, control: Any
) -> None:
    """The same minimum, in at most 1.5 times as many steps, whatever the units of parameters and data."""
    method = None if lift is None and control is None else Method(lift=lift, control=control)
    plain = gd.fit(in_units(formula, true, start, [0] * 4, 0), method=method, max_steps=200)
    for powers, y_power in (([8, -8, 3, -5], 0), ([-6, 9, -9, 2], 12), ([0, 0, 0, 0], -12)):
        solution = gd.fit(in_units(formula, true, start, powers, y_power), method=method, max_steps=200)
        assert solution.cost / 10.0 ** (2 * y_power) == pytest.approx(plain.cost, rel=1e-6)
        units = 10.0 ** torch.tensor(powers[: len(start)], dtype=F64)
        assert torch.allclose(solution.theta / units, plain.theta, rtol=1e-4)
        assert solution.steps <= math.ceil(1.5 * plain.steps) + 1


def test_the_last_digits_of_theta_are_those_of_the_minimum() -> None:
    """By polishing: C is flat at a minimum, and its 16 digits hold 8 of θ; steps from another start agree in ten."""
    formula, true, start = FORMULAS["Hill"]
    ends = [gd.fit(in_units(formula, true, s, [0] * 4, 0)).theta for s in (start, true)]
    problem = in_units(formula, true, start, [0] * 4, 0)
    residual, jacobian = problem.linearise(ends[0])
    correction = torch.linalg.lstsq(jacobian.dense(), residual[:, None]).solution[:, 0]
    assert float((correction / ends[0]).abs().max()) < 1e-11
    assert torch.allclose(ends[0], ends[1], rtol=1e-10)


def test_constants_of_physics_are_found() -> None:
    """lmfit's issue 724: parameters of 4e-16, 1.9e3 and 5.4e3."""
    x = torch.tensor([0, 0.131, 0.261, 0.377, 0.503, 0.653, 0.784, 0.88], dtype=F64)
    y = [7349.91, 6889.77, 6354.54, 5952.89, 5709.72, 5599.58, 5618.98, 5405.07]
    start = {name: torch.tensor(v, dtype=F64) for name, v in (("s", 4e-16), ("A", 1944.84), ("c", 5405.07))}
    outputs = gd.FunctionMap(lambda p: p["c"] + p["A"] * torch.exp(-x * p["s"] / 1.6e-16), start)
    solution = gd.fit(gd.Problem.over(outputs, torch.tensor(y, dtype=F64)))
    assert solution.result.name == "stationary" and 16.0 * solution.cost == pytest.approx(49329.3, rel=1e-5)
    assert solution.theta.tolist() == pytest.approx([4.22498e-16, 2185.24, 5223.29], rel=1e-4)


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
@pytest.mark.parametrize("lift", LIFTS.values(), ids=LIFTS)
def test_a_linear_model_on_columns_of_any_size_is_least_squares(dtype: torch.dtype, lift: gd.Lift | None) -> None:
    """Columns of 1e-9 to 1e9, in at most five steps."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(30, 5, generator=generator, dtype=F64)
    y = torch.sin(a[:, :3].sum(1))
    columns = torch.cat([a, torch.ones(30, 1, dtype=F64)], 1)
    least = 0.5 * float((columns @ torch.linalg.lstsq(columns, y[:, None]).solution[:, 0] - y).square().mean())
    units = torch.tensor([1e-9, 1e9, 1.0, 1e-4, 1e5], dtype=F64)
    model = nn.Linear(5, 1).to(dtype)
    method = None if lift is None else Method(lift=lift)
    solution = gd.fit(model, (a * units).to(dtype), y.to(dtype), method=method)
    assert solution.steps <= 5
    assert solution.cost == pytest.approx(least, rel=1e-9 if dtype == F64 else 1e-5)


@pytest.mark.parametrize(("x_power", "y_power", "shift"), [(6, 0, 0.0), (-6, 9, 0.0), (0, -9, 0.0), (0, 0, 1e4)])
def test_a_network_is_fitted_alike_after_initialise(x_power: int, y_power: int, shift: float) -> None:
    x = torch.linspace(-3, 3, 60, dtype=F64)[:, None]

    def steps(kx: float, ky: float, shift: float) -> tuple[int, float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 15), nn.Tanh(), nn.Linear(15, 1)).double()
        solution = gd.fit(model, kx * x, ky * torch.sin(x) + shift, target_cost=1e-12 * ky**2, initialise=True)
        return solution.steps, solution.cost / ky**2

    plain, found = steps(1.0, 1.0, 0.0), steps(10.0**x_power, 10.0**y_power, shift)
    assert found[1] <= 1e-12 and found[0] <= 1.5 * plain[0]


# --- true reasons ---------------------------------------------------------------------------------------------------


def test_the_minimum_of_a_linear_problem_of_lost_rank_is_stationary() -> None:
    """Two linear layers on three points, and columns that are there twice: rounding must not look like progress."""
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=F64)
    y = torch.tensor([[-0.2445248], [0.1232554], [0.1713998]], dtype=F64)
    for seed in range(6):
        torch.manual_seed(seed)
        solution = gd.fit(nn.Sequential(nn.Linear(1, 10), nn.Linear(10, 1)).double(), x, y)
        assert solution.result.name == "stationary" and solution.cost == pytest.approx(0.00283797361, rel=1e-7)
    a = torch.randn(30, 5, generator=torch.Generator().manual_seed(1), dtype=F64)
    for seed in range(4):
        torch.manual_seed(seed)
        solution = gd.fit(nn.Linear(10, 1).double(), torch.cat([a, a], 1), torch.sin(a[:, :3].sum(1)))
        assert solution.result.name == "stationary"


def test_a_saturated_start_is_named_with_the_way_out() -> None:
    x = torch.linspace(-3, 3, 60, dtype=F64)[:, None]

    def notes(x: Tensor, y: Tensor, *, initialise: bool = False) -> str:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 15), nn.Tanh(), nn.Linear(15, 1)).double()
        found = gd.fit(model, x, y, max_steps=1, initialise=initialise).stats["notes"]
        return "\n".join(found)  # type: ignore[arg-type]

    assert notes(x, torch.sin(x)) == ""
    for given, said in (
        ((1e6 * x, torch.sin(x)), "inputs are of size 1e+06"),
        ((1e-5 * x, torch.sin(x)), "inputs are of size 1e-05"),
        ((x, 1e9 * torch.sin(x)), "targets vary by 1e+09"),
        ((x, torch.sin(x) + 1e4), "targets lie about 1e+04"),
    ):
        assert said in notes(*given) and "gd.initialise(model, X, y)" in notes(*given)
        assert "order 1" not in notes(*given, initialise=True)


def test_a_run_resumed_in_its_metric_is_the_uninterrupted_one(tmp_path: Path) -> None:
    formula, true, start = FORMULAS["peak"]
    full = gd.fit(in_units(formula, true, start, [3, -8, 5, 0], 4), max_steps=8)
    problem = in_units(formula, true, start, [3, -8, 5, 0], 4)
    gd.fit(problem, max_steps=4, checkpoint=tmp_path)
    resumed = gd.fit(problem, max_steps=8, checkpoint=tmp_path)
    assert resumed.history["cost"].tolist() == full.history["cost"].tolist()
    assert torch.equal(resumed.theta, full.theta)
