"""Walks and controls: the geodesic's order, the accurate solves below G, and what natural control takes and refuses."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import Linearised, PlannedControl, PlannedWalk, Standing, Trial, Walk, aim
from geodescent.jacobian import Block, DenseColumns, Jacobian
from geodescent.lift import PRODUCT_DAMPING, KrylovLift, PlannedLift, TwiceFactored
from geodescent.outputs import central_difference

F64 = torch.float64


def smooth(n: int = 60, *, width: int = 16, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    x = torch.rand(n, 2, dtype=F64) * 2 - 1
    y = (torch.sin(3 * x[:, 0]) * torch.cos(2 * x[:, 1]) + x[:, 0] ** 2)[:, None]
    return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1)).double(), x, y


def noisy(n: int = 80) -> tuple[nn.Module, Tensor, Tensor]:
    """K = 13 < m, no zero."""
    torch.manual_seed(0)
    x = torch.rand(n, 2, dtype=F64) * 2 - 1
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double(), x, torch.randn(n, 1, dtype=F64)


def at(model: nn.Module, x: Tensor, y: Tensor, lift: object | None = None) -> Linearised:
    problem = gd.Problem.of(model, x, y)
    return Linearised.at(problem, problem.theta, lift=lift or gd.GramLift(), dtype=F64)  # type: ignore[arg-type]


# --- the second derivative and the walk -----------------------------------------------------------------------------


def test_the_second_derivative_is_that_of_differences() -> None:
    here = at(*smooth())
    v = torch.randn_like(here.theta)
    h = 1e-4
    ahead, behind = here.residual_at(here.theta + h * v), here.residual_at(here.theta - h * v)
    assert_close(here.second_derivative(v), (ahead - 2 * here.residual + behind) / h**2, 1e-5)


class Opaque(torch.autograd.Function):
    """tanh without a forward derivative."""

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        out = torch.tanh(z)
        ctx.save_for_backward(out)  # type: ignore[attr-defined]
        return out

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:  # type: ignore[override]
        (out,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return g * (1 - out**2)


class OpaqueTanh(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return Opaque.apply(z)


def test_an_operation_without_forward_derivative_gets_differences() -> None:
    model, x, y = smooth()
    here = at(model, x, y)
    v = 1e-2 * torch.randn_like(here.theta)
    model[1] = OpaqueTanh()
    assert_close(at(model, x, y).second_derivative(v), here.second_derivative(v), 1e-5)
    assert_close(central_difference(here.problem.outputs, here.theta, v), here.second_derivative(v), 1e-5)


def test_the_geodesic_step_is_of_third_order_and_euler_of_second() -> None:
    """`‖r(θ + step) − (1 − h)r‖` against the flow's own: second order without a, third with it, along the range."""
    torch.manual_seed(0)
    x, y = torch.randn(20, 10, dtype=F64), torch.randn(20, 1, dtype=F64)
    here = at(nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1)).double(), x, y)
    damped = here.damped(0.0)
    lifted = here.lift(damped, -here.residual)
    deviations: dict[str, list[float]] = {"euler": [], "geodesic": []}
    for h in (2e-2, 1e-2):
        for name, walk in (("euler", gd.EulerWalk(h)), ("geodesic", gd.GeodesicWalk(h))):
            moved = here.residual_at(here.theta + walk.displacement(here, damped, lifted).theta)
            deviations[name].append(float((moved - (1 - h) * here.residual).norm()))
    assert 3.5 < deviations["euler"][0] / deviations["euler"][1] < 4.5
    assert 7.0 < deviations["geodesic"][0] / deviations["geodesic"][1] < 9.0


def test_the_bend_is_the_length_of_a_against_v() -> None:
    here = at(*smooth())
    damped = here.damped(1e-3 * here.trace)
    lifted = here.lift(damped, -here.residual)
    v = lifted.velocity
    moved = gd.GeodesicWalk().displacement(here, damped, lifted)
    a = -0.5 * here.prepared.lift(here.second_derivative(v), damping=1e-3 * here.trace).velocity
    assert_close(moved.theta, v + a, 1e-12)
    assert moved.bend == pytest.approx(float(a.norm() / v.norm()), rel=1e-10)


# --- solves below what G resolves -----------------------------------------------------------------------------------


def graded(m: int, k: int) -> tuple[Jacobian, Tensor, Tensor, Tensor]:
    """A Jacobian of singular values 1 … 1e-13 and its singular vectors."""
    n = min(m, k)
    left, right = (torch.linalg.qr(torch.randn(size, n, dtype=F64)).Q for size in (m, k))
    values = torch.logspace(0, -13, n, dtype=F64)
    dense = left @ torch.diag(values) @ right.T
    block = Block((DenseColumns(dense[:, None, :], torch.arange(k), "planted"),), m, 1)
    return Jacobian((block,), k, F64, torch.device("cpu")), left, values, right


@pytest.mark.parametrize(("m", "k"), [(30, 80), (80, 30), (40, 40)])
@pytest.mark.parametrize("damping", [1e-14, 1e-18, 1e-22])
def test_two_factors_solve_as_the_singular_values_do(m: int, k: int, damping: float) -> None:
    jacobian, left, values, right = graded(m, k)
    lift = gd.GramLift() if m <= k else gd.NormalLift()
    v = left @ (values * torch.randn(len(values), dtype=F64))  # what D can reach, as a residual's smooth part
    expected = right @ (values / (values**2 + damping) * (left.T @ v))
    found = lift.prepare(jacobian).lift(v, damping=damping).velocity
    assert_close(found, expected, 1e-3)


def test_g_alone_could_not() -> None:
    """The same by one Cholesky factor of G misses by orders of magnitude: the test above is about something."""
    jacobian, left, values, right = graded(30, 80)
    damping = 1e-22
    v = left @ (values * torch.randn(len(values), dtype=F64))
    expected = right @ (values / (values**2 + damping) * (left.T @ v))
    gram = jacobian.gram() + 1e-16 * torch.eye(30, dtype=F64)
    naive = jacobian.rmv(torch.linalg.solve(gram, v))
    assert float((naive - expected).norm() / expected.norm()) > 0.1


def test_a_product_that_is_not_finite_has_no_factors() -> None:
    jacobian, *_ = graded(5, 8)
    assert TwiceFactored.of(jacobian, torch.full((5, 5), math.nan, dtype=F64), wide=True) is None


def test_the_routes_meet_where_they_change() -> None:
    here = at(*smooth(30, width=40))
    border = PRODUCT_DAMPING * here.trace
    above, below = (here.prepared.lift(-here.residual, damping=f * border).misfit for f in (1.001, 0.999))
    assert_close(above, below, 1e-2)


# --- natural control ------------------------------------------------------------------------------------------------


def test_natural_control_reaches_digits_where_the_gain_ratio_creeps() -> None:
    """After 80 steps, mean of three starts in digits: one path alone depends on how its first products round."""
    digits = []
    for control, seed in itertools.product((gd.NaturalControl(), gd.GainRatio()), range(3)):
        model, x, y = smooth(100, width=24, seed=seed)
        digits.append(math.log10(gd.fit(model, x, y, method=gd.Method(control=control), max_steps=80).cost))
    assert sum(digits[:3]) / 3 < sum(digits[3:]) / 3 - 2.0


def test_the_path_may_rise_and_the_best_point_is_kept() -> None:
    model, x, y = smooth(100, width=24)
    solution = gd.fit(model, x, y, max_steps=60)
    costs = solution.history["cost"]
    assert (costs[1:] > costs[:-1]).any()
    assert solution.cost == costs.min()
    residual = model(x).detach() - y
    assert float(residual.square().sum()) / (2 * len(x)) == pytest.approx(solution.cost, rel=1e-6)


def test_a_step_taken_passes_the_natural_test() -> None:
    here = at(*smooth(100, width=24))
    control = gd.NaturalControl(corrections=0)
    trial = control.step(here, gd.GeodesicWalk(), Standing(1e-3, here.cost, here.cost))
    assert trial is not None
    lifted = here.prepared.lift(-here.residual, damping=trial.damping)
    asked = here.prepared.lift(lifted.misfit - here.residual_at(trial.theta), damping=trial.damping).velocity
    assert float(asked.norm()) <= 0.5 * float(lifted.velocity.norm())


def test_chord_corrections_bring_the_residual_to_the_linear_model() -> None:
    """Off the path by a little, the same factor leads back, each correction much shorter than the last."""
    torch.manual_seed(0)
    x, y = torch.randn(20, 10, dtype=F64), torch.randn(20, 1, dtype=F64)
    here = at(nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1)).double(), x, y)
    damped = here.damped(1e-8 * here.trace)
    wanted = 0.99 * here.residual
    theta = here.theta + 1e-2 * torch.randn_like(here.theta)
    residual = here.residual_at(theta)
    correction = here.lift(damped, wanted - residual).velocity
    length = 10.0 * float(correction.norm())
    _, found = gd.NaturalControl()._corrected(here, damped, theta, residual, correction, (wanted, length))
    assert here.tally["corrections"] > 0
    assert float((found - wanted).norm()) < 0.05 * float((residual - wanted).norm())


def test_every_damping_takes_one_factor() -> None:
    """Where C is high the noise test and the first trial share theirs."""
    here = at(*smooth())
    assert gd.NaturalControl().step(here, gd.GeodesicWalk(), Standing(1e-3, here.cost, here.cost)) is not None
    assert here.tally["factors"] == here.tally["rejections"] + 1


def test_noisy_data_with_few_parameters_end_below_the_classical_control() -> None:
    costs = {}
    for control in (gd.NaturalControl(), gd.GainRatio()):
        model, x, y = noisy()
        costs[type(control)] = gd.fit(model, x, y, method=gd.Method(control=control), max_steps=200).cost
    assert costs[gd.NaturalControl] < 1.02 * costs[gd.GainRatio]


def test_a_start_at_the_solution_ends_at_once() -> None:
    model, x, y = smooth(40, width=24)
    gd.fit(model, x, y)
    again = gd.fit(model, x, y)
    assert again.cost <= 1e-26
    assert again.steps <= 3


@pytest.mark.parametrize("step_size", [0.9, 0.5])
def test_a_shorter_step_shrinks_the_cost_by_its_square(step_size: float) -> None:
    """`C ← (1 − h)²C` once the linear model holds."""
    model, x, y = smooth(20, width=30)
    solution = gd.fit(
        model,
        x,
        y,
        method=gd.Method(lift=gd.GramLift(), walk=gd.GeodesicWalk(step_size)),
        max_steps=30,
        target_cost=1e-20,
    )
    costs = solution.history["cost"]
    ratios = costs[-3:] / costs[-4:-1]
    assert ratios == pytest.approx((1 - step_size) ** 2, rel=0.2)


def test_the_aim_of_a_shorter_step() -> None:
    here = at(*smooth())
    lifted = here.prepared.lift(-here.residual, damping=1e-3)
    moved = here.residual + 0.3 * here.jacobian.mv(lifted.velocity)
    assert_close(aim(here, lifted, 0.3), moved, 1e-10)


@pytest.mark.parametrize(
    ("lift", "natural"), [(gd.GramLift(), True), (gd.NormalLift(), True), (gd.KrylovLift(), False)]
)
def test_the_plan_compares_corrections_only_where_solves_are_exact(lift: object, natural: bool) -> None:
    control = PlannedControl()
    chosen = control._chosen(at(*smooth(), lift))
    assert (chosen is control.direct) is natural


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_path_does_not_depend_on_the_units_of_y(scale: float) -> None:
    """With the last layer and y in other units the costs are those, times the square."""
    histories = []
    for factor in (1.0, scale):
        model, x, y = smooth(40, width=12)
        with torch.no_grad():
            model[2].weight.mul_(factor)
            model[2].bias.mul_(factor)
        histories.append(gd.fit(model, x, factor * y, max_steps=2).cost0)
    assert histories[1] == pytest.approx(histories[0] * scale**2, rel=1e-9)


# --- the opening ----------------------------------------------------------------------------------------------------


def test_a_descent_opens_with_inexact_steps_and_ends_with_exact_ones() -> None:
    model, x, y = smooth(500, width=130)
    routes: list[bool] = []

    @dataclass(frozen=True)
    class Watched(PlannedControl):
        def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
            before = here.tally["iterations"]
            trial = super().step(here, walk, standing)
            routes.append(here.tally["iterations"] > before)
            return trial

    solution = gd.fit(model, x, y, target_cost=1e-20, method=gd.Method(control=Watched()))
    assert solution.result is gd.Result.target_reached
    assert routes[0] and not routes[-1]
    assert routes == sorted(routes, reverse=True)  # once over, the opening does not come back


def test_the_opening_forms_no_matrix() -> None:
    here = at(*smooth(1000, width=260), PlannedLift())
    trial = PlannedControl().step(here, PlannedWalk(), Standing(1e-3, here.cost, here.cost, opening=0.0))
    assert trial is not None and trial.cost < here.cost
    assert "exact" not in vars(here.prepared)


@pytest.mark.parametrize(
    ("before", "reference", "over"),
    [(0.0, 1.0, False), (1e9, 1.0, True), (0.0, 1e6, True)],
    ids=["early", "long", "in the valley"],
)
def test_the_opening_ends_in_the_valley_or_when_it_was_long(before: float, reference: float, over: bool) -> None:
    here = at(*smooth(1000, width=260), PlannedLift())
    standing = Standing(1e-3, here.cost, here.cost * reference, opening=before)
    trial = PlannedControl().step(here, PlannedWalk(), standing)
    assert trial is not None and (trial.opening is None) is over
    if over:  # the damping goes on in the units of the control that follows
        inexact = replace(here, prepared=here.prepared.opening.prepared)
        same = PlannedControl().step(inexact, PlannedWalk(), Standing(1e-3, here.cost, here.cost))
        assert trial.next_damping == pytest.approx(same.next_damping / len(here.residual), rel=1e-9)


def test_a_step_begins_where_the_last_one_ended() -> None:
    """The same solve from its own answer is at its end sooner."""
    here = at(*smooth(1000, width=260), KrylovLift(tol=1e-2, slack=0.5))
    first = gd.GainRatio().step(here, gd.EulerWalk(), Standing(1e-3, here.cost, here.cost))
    cold = here.tally["iterations"]
    again = gd.GainRatio().step(here, gd.EulerWalk(), Standing(1e-3, here.cost, here.cost, momentum=first.momentum))
    assert again.predicted <= 1.1 * first.predicted
    assert here.tally["iterations"] - cold < cold
