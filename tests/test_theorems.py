"""The theorems of THEORY 1.1 to 1.9 and 2.1 to 2.3, by their numbers; docs/theory.md is the table of them.

Limits are tested by their rate, everything else against dense oracles in float64.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.datasets import load_diabetes, load_wine
from support.laws import assert_close, naive_jacobian
from support.models import ZOO, Specimen, made
from torch import Tensor, nn

import geodescent as gd
from geodescent import linalg as _linalg
from geodescent.descent import Linearised
from geodescent.flow import AdaptedField
from geodescent.flow import _integrate as _flow
from geodescent.jacobian import Jacobian
from geodescent.lift import Lift

F64 = torch.float64
LOSES_RANK = {"one layer", "sequence relu in place", "sparse embedding", "uncalled", "thrown away"}  # or has K < m
FULL_RANK = [s for s in ZOO if s.name not in LOSES_RANK]


# --- problems -------------------------------------------------------------------------------------------------------


def network(*sizes: int, act: type[nn.Module] = nn.Tanh) -> nn.Module:
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1]).double()


def wine(every: int = 20) -> tuple[Tensor, Tensor]:
    data = load_wine()
    x = torch.as_tensor(data.data[::every])
    return (x - x.mean(0)) / x.std(0), nn.functional.one_hot(torch.as_tensor(data.target[::every])).double()


def diabetes(n: int = 24) -> tuple[Tensor, Tensor]:
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])
    return (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]


def duplicated() -> tuple[nn.Module, Tensor, Tensor]:
    """Samples 0, 1 and 2 have one input and three targets."""
    x, y = diabetes(20)
    x[1] = x[2] = x[0]
    return network(10, 12, 1), x, y


def few_parameters() -> tuple[nn.Module, Tensor, Tensor]:
    """K = 25 < m = 40."""
    x, y = diabetes(40)
    return network(10, 2, 1), x, y


def full_rank() -> tuple[nn.Module, Tensor, Tensor]:
    x, y = diabetes(20)
    return network(10, 12, 1), x, y


PROBLEMS = {"full rank": full_rank, "duplicates": duplicated, "K < m": few_parameters}


class Linear(nn.Module):
    """`x = Dθ` for a D with a prescribed spectrum: the rows of D are the inputs."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(k, dtype=F64))

    def forward(self, rows: Tensor) -> Tensor:
        return (rows @ self.theta)[:, None]


class Parabola(nn.Module):
    """`x = σθ − Lθ²/2`: where condition 1.9 is sharp."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=F64))

    def forward(self, rows: Tensor) -> Tensor:
        return rows[:, :1] * self.theta - 0.5 * rows[:, 1:] * self.theta**2


class Circle(nn.Module):
    """`x = R (cos θ, sin θ)`: an image of curvature 1/R."""

    def __init__(self, angle: float) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.tensor([angle], dtype=F64))

    def forward(self, radius: Tensor) -> Tensor:
        return radius * torch.stack([self.angle.cos(), self.angle.sin()], 1)


def with_spectrum(values: Tensor, k: int) -> Tensor:
    """A matrix (m, k) of these singular values."""
    m = len(values)
    left, right = (torch.linalg.qr(torch.randn(size, size, dtype=F64))[0] for size in (m, k))
    return left @ torch.diag(values) @ right[:, :m].T


# --- the flow's velocity and its oracles ----------------------------------------------------------------------------


def adapted(problem: gd.Problem, theta: Tensor, lift: Lift | None = None, damping: float = 0.0) -> Tensor:
    """`θ̇ = −D_μ(x − y)` at θ."""
    outputs, jacobian = problem.linearise(theta)
    prepared = (lift or gd.GramLift()).prepare(jacobian, row_scale=problem.row_scale)
    return prepared.lift(-problem.residual(outputs), damping=damping).velocity


def residual_at(problem: gd.Problem, theta: Tensor) -> Tensor:
    return problem.residual(problem.outputs(theta))


def range_basis(dense: Tensor) -> Tensor:
    """An orthonormal basis of range(D), from its singular vectors."""
    left, values, _ = torch.linalg.svd(dense, full_matrices=False)
    return left[:, values > max(dense.shape) * torch.finfo(dense.dtype).eps * values[0]]


def lifted_problem(name: str) -> tuple[gd.Problem, Tensor, Tensor, Tensor]:
    """The problem, its dense D, its residual and its velocity; K < m through the normal matrix."""
    model, x, y = PROBLEMS[name]()
    problem = gd.Problem.of(model, x, y)
    lift = gd.NormalLift() if problem.n_params < problem.n_residuals else gd.GramLift()
    return problem, naive_jacobian(model, x), residual_at(problem, problem.theta), adapted(problem, problem.theta, lift)


def assert_rate(coarse: float, fine: float, expected: float) -> None:
    """Halving the step divides the deviation by `expected`, up to the next order."""
    assert 0.8 * expected < coarse / fine < 1.25 * expected, (coarse, fine, coarse / fine)


def runge_kutta(velocity, theta: Tensor, until: float, steps: int) -> Tensor:
    """The classical fourth-order walk."""
    h = until / steps
    for _ in range(steps):
        a = velocity(theta)
        b = velocity(theta + 0.5 * h * a)
        c = velocity(theta + 0.5 * h * b)
        d = velocity(theta + h * c)
        theta = theta + h / 6.0 * (a + 2.0 * b + 2.0 * c + d)
    return theta


# --- 1.1 the law of exponential decay -------------------------------------------------------------------------------


@pytest.mark.parametrize("specimen", FULL_RANK, ids=lambda s: s.name)
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
def test_1_1_the_outputs_decay_for_every_architecture(specimen: Specimen) -> None:
    """`D θ̇ = −(x − y)`, D by autograd and not by layers."""
    model, inputs = made(specimen, F64)
    outputs = gd.SampleMap(model, inputs)
    x = outputs(outputs.theta)
    problem = gd.Problem.of(model, inputs, (x + torch.randn_like(x)).reshape(len(x), *outputs.output_shape))
    residual = residual_at(problem, problem.theta)
    assert_close(naive_jacobian(model, inputs) @ adapted(problem, problem.theta), -residual, 1e-10)


@pytest.mark.parametrize(
    ("data", "sizes", "act"),
    [(wine, (13, 16, 3), nn.Tanh), (diabetes, (10, 12, 12, 1), nn.GELU), (diabetes, (10, 16, 1), nn.SiLU)],
    ids=["wine tanh", "diabetes gelu", "diabetes silu"],
)
def test_1_1_the_measured_cost_follows_the_curve(data, sizes, act) -> None:
    x, y = data()
    model = network(*sizes, act=act)
    cost0 = 0.5 * float((model(x).detach() - y).square().sum()) / len(x)
    flow = gd.flow(model, x, y, target_cost=1e-8 * cost0)
    law = cost0 * np.exp(-2.0 * flow.time)
    assert np.all(flow.rank == y.numel())
    assert len(flow.time) > 20
    assert float(np.max(np.abs(flow.cost / law - 1.0))) < 1e-8
    cost = 0.5 * float((model(x).detach() - y).square().sum()) / len(x)
    assert cost == pytest.approx(1e-8 * cost0, rel=1e-8)


def test_1_1_the_outputs_walk_a_straight_line() -> None:
    """`x(τ) − y = e^{−τ}(x₀ − y)`, every component of it."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    start = residual_at(problem, problem.theta)
    velocity = _flow.Velocity(problem, AdaptedField(), gd.GramLift())
    for tau, theta in _flow.integrate(velocity, 3.0, tol=1e-10):
        assert_close(residual_at(problem, torch.from_numpy(theta.copy())), math.exp(-tau) * start, 1e-9)


def test_1_1_a_fourth_order_walk_leaves_the_law_at_fourth_order() -> None:
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    law = math.exp(-1.0) * residual_at(problem, problem.theta)
    deviations = []
    for steps in (8, 16):
        end = runge_kutta(lambda theta: adapted(problem, theta), problem.theta, 1.0, steps)
        deviations.append(float(torch.linalg.vector_norm(residual_at(problem, end) - law)))
    assert_rate(*deviations, expected=16.0)


# --- 1.2 the stopping time ------------------------------------------------------------------------------------------


def test_1_2_the_stopping_time_inverts_the_predicted_cost() -> None:
    for cost0, target in [(3.0, 1e-8), (1e10, 1e-10), (2e-10, 1e-10)]:
        tau = gd.stopping_time(cost0, target)
        assert tau == pytest.approx(0.5 * math.log(cost0 / target), rel=1e-15)
        assert gd.predicted_cost(cost0, tau) == pytest.approx(target, rel=1e-12)


def test_1_2_the_flow_is_at_its_target_at_that_time() -> None:
    """`C ≤ ε` at ½ ln(C₀/ε), and so `‖x − y‖ ≤ δ` at ln(‖x₀ − y‖/δ)."""
    model, x, y = full_rank()
    start = float(torch.linalg.vector_norm(model(x).detach() - y))
    flow = gd.flow(model, x, y, target_cost=1e-5)
    end = float(torch.linalg.vector_norm(model(x).detach() - y))
    assert flow.result is gd.Result.target_reached
    assert flow.time[-1] == pytest.approx(gd.stopping_time(flow.cost0, 1e-5), rel=1e-12)
    assert flow.cost[-1] == pytest.approx(1e-5, rel=1e-8)
    assert flow.time[-1] == pytest.approx(math.log(start / end), rel=1e-8)


# --- 1.3 conditioning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6])
def test_1_3_the_rate_does_not_see_the_conditioning(condition: float) -> None:
    """Nor does the number of steps: the error of a step is measured in the outputs, and solves are refined with D."""
    rows = with_spectrum(torch.logspace(0.0, -math.log10(condition), 6, dtype=F64), 9)
    flow = gd.flow(Linear(9), rows, torch.randn(6, 1, dtype=F64), until=4.0)
    assert flow.certificate.condition == pytest.approx(condition, rel=1e-6)
    assert flow.stats["evaluations"] < 1000
    assert float(np.max(np.abs(flow.cost / (flow.cost[0] * np.exp(-2.0 * flow.time)) - 1.0))) < 1e-8


def test_1_3_conditioning_is_paid_in_parameter_space() -> None:
    """`‖θ̇‖ ≤ ‖x − y‖/σ_min`, with equality along the weakest direction."""
    _, dense, residual, velocity = lifted_problem("full rank")
    smallest = float(torch.linalg.svdvals(dense)[-1])
    assert float(torch.linalg.vector_norm(velocity)) <= float(torch.linalg.vector_norm(residual)) / smallest
    model, x, _ = full_rank()
    left, values, _ = torch.linalg.svd(naive_jacobian(model, x), full_matrices=False)
    worst = gd.Problem.of(model, x, model(x).detach() - left[:, -1:])
    speed = float(torch.linalg.vector_norm(adapted(worst, worst.theta)))
    assert speed == pytest.approx(1.0 / float(values[-1]), rel=1e-8)


# --- 1.4 fewer parameters than residuals ----------------------------------------------------------------------------


def test_1_4_the_projected_flow_where_parameters_are_few() -> None:
    """`D θ̇ = −P(x − y)` and `D⁺ = (DᵀD)⁻¹Dᵀ`, K < m."""
    problem, dense, residual, velocity = lifted_problem("K < m")
    assert problem.n_params < problem.n_residuals
    assert torch.linalg.matrix_rank(dense) == problem.n_params
    basis = range_basis(dense)
    assert_close(dense @ velocity, -(basis @ (basis.T @ residual)), 1e-10)
    assert_close(velocity, -torch.linalg.solve(dense.T @ dense, dense.T @ residual), 1e-8)


def test_1_4_equilibria_have_a_normal_residual_and_cost_above_zero() -> None:
    """A planted one: y is an image point and a little more, normal to the image there."""
    model, x, _ = few_parameters()
    normal = torch.randn(len(x), dtype=F64)
    axes = range_basis(naive_jacobian(model, x))
    normal -= axes @ (axes.T @ normal)
    y = model(x).detach() + 1e-4 * (normal / normal.norm())[:, None] * len(x) ** 0.5
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1e-6 * torch.randn_like(parameter)
    solution = gd.fit(model, x, y, max_steps=400)
    residual = (model(x).detach() - y).reshape(-1)
    dense = naive_jacobian(model, x)
    assert solution.result is gd.Result.stationary
    assert solution.cost == pytest.approx(0.5e-8, rel=0.1)
    assert float(torch.linalg.vector_norm(range_basis(dense).T @ residual)) < 1e-5 * float(
        torch.linalg.vector_norm(residual)
    )


@pytest.mark.parametrize(("radius", "distance"), [(1.0, 0.3), (2.0, 0.5), (2.0, -1.5)])
def test_1_4_the_local_rate_is_one_minus_curvature_times_distance(radius: float, distance: float) -> None:
    """y lies at (R − distance, 0): towards the centre for distance > 0, where the curvature counts as 1/R."""
    rates = []
    for angle in (2e-2, 1e-2):
        problem = gd.Problem.of(
            Circle(angle), torch.tensor([[radius]], dtype=F64), torch.tensor([[radius - distance, 0.0]], dtype=F64)
        )
        rates.append(-float(adapted(problem, problem.theta, gd.NormalLift())) / angle)
    deviations = [abs(rate - (1.0 - distance / radius)) for rate in rates]
    assert deviations[1] < 1e-3
    assert_rate(*deviations, expected=4.0)


# --- 1.5 any rank ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_5_the_outputs_follow_the_projected_residual(name: str) -> None:
    """`dx/dτ = −P(x − y)` at any rank, P from the dense singular vectors."""
    _, dense, residual, velocity = lifted_problem(name)
    basis = range_basis(dense)
    assert_close(dense @ velocity, -(basis @ (basis.T @ residual)), 1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_5_the_cost_falls_by_the_projected_residual(name: str) -> None:
    """`dC/dτ = −‖P(x − y)‖²/N`: central differences of C along the lift come to it at second order."""
    problem, dense, residual, velocity = lifted_problem(name)
    seen = range_basis(dense).T @ residual
    slope = -float(seen @ seen) / problem.n_samples
    assert slope < 0.0
    deviations = []
    for h in (2e-3, 1e-3):
        ahead, behind = (problem.cost(problem.outputs(problem.theta + s * velocity)) for s in (h, -h))
        deviations.append(abs((ahead - behind) / (2.0 * h) - slope))
    assert_rate(*deviations, expected=4.0)


@pytest.mark.parametrize("name", ["duplicates", "K < m"])
def test_1_5_the_critical_set_is_that_of_gradient_descent(name: str) -> None:
    """`P(x − y) = 0 ⇔ Dᵀ(x − y) = 0`, with C > 0 and so rank D < m."""
    model, x, _ = PROBLEMS[name]()
    dense, outputs = naive_jacobian(model, x), model(x).detach()
    basis = range_basis(dense)
    assert basis.shape[1] < len(dense)
    normal = torch.randn(len(dense), dtype=F64)
    normal = normal - basis @ (basis.T @ normal)
    lift = gd.NormalLift() if name == "K < m" else gd.GramLift()
    for along, moves in ((torch.zeros(len(dense), dtype=F64), False), (basis[:, 0], True)):
        target = outputs - (normal + along)[:, None]
        problem = gd.Problem.of(model, x, target)
        velocity = adapted(problem, problem.theta, lift)
        gradient = dense.T @ residual_at(problem, problem.theta) / problem.n_samples
        assert problem.cost(problem.outputs(problem.theta)) > 0.1
        assert (float(torch.linalg.vector_norm(velocity)) > 1e-6) is moves
        assert (float(torch.linalg.vector_norm(gradient)) > 1e-6) is moves


def test_1_5_the_curve_where_rank_is_lost() -> None:
    """`C(τ) = F + (C₀ − F)e^{−2τ}` for a model linear in θ, F the spread of the targets of identical inputs."""
    x, y = diabetes(9)
    x[1] = x[2] = x[0]
    spread = float((y[:3] - y[:3].mean()).square().sum()) / (2 * 9)
    flow = gd.flow(nn.Linear(10, 1).double(), x, y, until=6.0)
    assert flow.floor == pytest.approx(spread, rel=1e-10)
    assert np.all(flow.rank == 7)
    assert flow.law.startswith("F + (C₀ − F)")
    law = spread + (flow.cost0 - spread) * np.exp(-2.0 * flow.time)
    assert float(np.max(np.abs(flow.cost / law - 1.0))) < 1e-8
    assert float(np.max(np.abs(flow.predicted_cost / law - 1.0))) < 1e-10
    assert flow.cost[-1] > spread


# --- 1.6 geometry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_6_the_velocity_is_horizontal(name: str) -> None:
    """`θ̇ ⟂ ker D`."""
    _, dense, _, velocity = lifted_problem(name)
    _, values, right = torch.linalg.svd(dense)
    rank = int((values > 1e-10 * values[0]).sum())
    assert float(torch.linalg.vector_norm(right[rank:] @ velocity)) <= 1e-9 * float(torch.linalg.vector_norm(velocity))


def test_1_6_the_length_of_the_lift_is_that_of_the_output_path() -> None:
    """`‖D θ̇‖ = ‖ẋ‖`: integrated, (1 − e^{−τ})‖x₀ − y‖, the length of a straight line."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    start, length = residual_at(problem, problem.theta), 0.0
    theta, time, until = problem.theta, 0.0, 1.5
    for node, weight in zip(0.5 * until * (nodes + 1.0), 0.5 * until * weights, strict=True):
        theta = runge_kutta(lambda point: adapted(problem, point), theta, node - time, 12)
        problem.write(theta)
        length += weight * float(torch.linalg.vector_norm(naive_jacobian(model, x) @ adapted(problem, theta)))
        time = node
    assert length == pytest.approx((1.0 - math.exp(-until)) * float(torch.linalg.vector_norm(start)), rel=1e-5)


def test_1_6_the_lift_of_a_closed_loop_need_not_close() -> None:
    """Holonomy: around a small square the outputs come back, θ does not, by an amount of the square's area."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    directions = range_basis(naive_jacobian(model, x))[:, :2].T
    gaps = []
    for side in (0.2, 0.1):
        theta = problem.theta
        for way in (directions[0], directions[1], -directions[0], -directions[1]):
            theta = runge_kutta(lambda point, way=way: lift_of(problem, point, way), theta, side, 4)
        assert_close(problem.outputs(theta), problem.outputs(problem.theta), 1e-7)
        gaps.append(float(torch.linalg.vector_norm(theta - problem.theta)))
    assert gaps[1] > 1e-6
    assert_rate(*gaps, expected=4.0)


def lift_of(problem: gd.Problem, theta: Tensor, velocity: Tensor) -> Tensor:
    """`D⁺ẋ` at θ."""
    _, jacobian = problem.linearise(theta)
    return gd.GramLift().prepare(jacobian).lift(velocity, damping=0.0).velocity


# --- 1.7 cuts -------------------------------------------------------------------------------------------------------


def test_1_7_a_relative_cut_keeps_the_singular_values_above_it() -> None:
    values = torch.tensor([4.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4], dtype=F64)
    rows = with_spectrum(values, 8)
    problem = gd.Problem.of(Linear(8), rows, torch.randn(6, 1, dtype=F64))
    residual = residual_at(problem, problem.theta)
    _, jacobian = problem.linearise(problem.theta)
    for rcond, rank in [(1e-1, 2), (1e-2, 3), (1e-3, 4), (1e-8, 6)]:
        lifted = gd.GramLift(rcond=rcond).prepare(jacobian).lift(residual, damping=0.0)
        assert lifted.rank == rank
        assert_close(lifted.velocity, torch.linalg.pinv(rows, rtol=rcond) @ residual, 1e-6)
        assert gd.NormalLift(rcond=rcond).prepare(jacobian).lift(residual, damping=0.0).rank == rank
        assert gd.certify(Linear(8), rows, problem.target[:, None], rcond=rcond).rank == rank


def test_1_7_through_the_gram_matrix_nothing_below_its_resolution_is_kept() -> None:
    """`√(m·eps)·σ_max`: eigenvalues of G below m·eps·λ_max are cut, whatever is asked for."""
    rows = with_spectrum(torch.tensor([2.0, 1.0, 1e-1, 1e-12], dtype=F64), 6)
    factor = _linalg.eigh(rows @ rows.T, rcond=1e-15)
    assert factor.rank == 3
    assert factor.resolution == pytest.approx(math.sqrt(4 * torch.finfo(F64).eps) * 2.0, rel=1e-6)


def test_1_7_the_penrose_inverse_jumps_where_the_rank_changes() -> None:
    for smallest in (1e-3, 1e-6):
        rows = torch.diag(torch.tensor([1.0, smallest], dtype=F64))
        problem = gd.Problem.of(Linear(2), rows, torch.ones(2, 1, dtype=F64))
        assert float(adapted(problem, problem.theta)[1]) == pytest.approx(1.0 / smallest, rel=1e-9)
    problem = gd.Problem.of(Linear(2), torch.diag(torch.tensor([1.0, 0.0], dtype=F64)), torch.ones(2, 1, dtype=F64))
    assert float(adapted(problem, problem.theta)[1]) == 0.0


def test_1_7_a_cholesky_of_duplicates_is_not_trusted() -> None:
    """40 Grams with one duplicate sample: none passes as full rank, though for some Cholesky itself succeeds."""
    succeeded = 0
    for seed in range(40):
        rows = torch.randn(30, 60, dtype=F64, generator=torch.Generator().manual_seed(seed))
        rows[7] = rows[3]
        gram = rows @ rows.T
        succeeded += int(torch.linalg.cholesky_ex(gram).info) == 0
        assert _linalg.factor(gram).rank == 29
    assert succeeded > 0


# --- 1.8 steps ------------------------------------------------------------------------------------------------------


def euler(problem: gd.Problem, h: float) -> Tensor:
    """The displacement of an undamped Euler step."""
    lift = gd.GramLift() if problem.n_residuals <= problem.n_params else gd.NormalLift()
    here = Linearised.at(problem, problem.theta, lift=lift, dtype=F64)
    damped = here.damped(0.0)
    return gd.EulerWalk(h).displacement(here, damped, here.lift(damped, -here.residual)).theta


@pytest.mark.parametrize("name", ["full rank"])
def test_1_8_an_euler_step_shrinks_the_residual(name: str) -> None:
    """Residual × (1 − h) + O(h²)."""
    problem, _, residual, _ = lifted_problem(name)
    deviations = []
    for h in (2e-2, 1e-2):
        after = residual_at(problem, problem.theta + euler(problem, h))
        deviations.append(float(torch.linalg.vector_norm(after - (1.0 - h) * residual)))
    assert_rate(*deviations, expected=4.0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_8_the_full_step_is_gauss_newton(name: str) -> None:
    problem, dense, residual, _ = lifted_problem(name)
    oracle = torch.linalg.lstsq(dense, -residual[:, None], driver="gelsd", rcond=1e-12).solution[:, 0]
    assert_close(euler(problem, 1.0), oracle, 1e-7)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("relative", [1e-6, 1e-2, 1e2])
def test_1_8_the_push_through_identity(name: str, relative: float) -> None:
    """`Dᵀ(DDᵀ + μ)⁻¹ = (DᵀD + μ)⁻¹Dᵀ`: both routes, one scale, one answer."""
    problem, jacobian = linearised(name)
    left, right = gd.GramLift().prepare(jacobian), gd.NormalLift().prepare(jacobian)
    assert left.scale == pytest.approx(right.scale, rel=1e-12)
    residual = residual_at(problem, problem.theta)
    damping = relative * left.scale
    assert_close(left.lift(residual, damping=damping).velocity, right.lift(residual, damping=damping).velocity, 1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_1_8_the_linear_models_cost_is_free(name: str) -> None:
    """`C_lin = μ²‖z‖²/(2N)` with z = (G + μ)⁻¹(x − y), and the misfit of every lift has that size."""
    problem, jacobian = linearised(name)
    residual, dense = residual_at(problem, problem.theta), jacobian.dense()
    damping = 1e-2 * gd.GramLift().prepare(jacobian).scale
    z = torch.linalg.solve(dense @ dense.T + damping * torch.eye(len(dense), dtype=F64), residual)
    for lift in (gd.GramLift(), gd.NormalLift(), gd.KrylovLift()):
        misfit = lift.prepare(jacobian).lift(-residual, damping=damping).misfit
        assert_close(misfit, damping * z, 1e-9)
        assert float(misfit @ misfit) / (2.0 * problem.n_samples) == pytest.approx(
            damping**2 * float(z @ z) / (2.0 * problem.n_samples), rel=1e-9
        )


def test_1_8_the_recorded_gain_is_the_fall_over_the_predicted_fall() -> None:
    model, x, y = full_rank()
    history = gd.fit(model, x, y, max_steps=6).history
    before, after, linear = history["cost"][:-1], history["cost"][1:], history["predicted"][1:]
    assert np.allclose(history["gain_ratio"][1:], (before - after) / (before - linear), rtol=1e-12)


def test_1_8_large_damping_is_gradient_descent() -> None:
    """`μ D_μ(x − y) → Dᵀ(x − y)`, the deviation falling as 1/μ."""
    problem, jacobian = linearised("full rank")
    residual = residual_at(problem, problem.theta)
    gradient = jacobian.dense().T @ residual
    prepared = gd.GramLift().prepare(jacobian)
    deviations = []
    for relative in (1e4, 2e4):
        damping = relative * prepared.scale
        step = damping * prepared.lift(residual, damping=damping).velocity
        deviations.append(float(torch.linalg.vector_norm(step - gradient)))
    assert_rate(*deviations, expected=2.0)


def linearised(name: str) -> tuple[gd.Problem, Jacobian]:
    problem = gd.Problem.of(*PROBLEMS[name]())
    return problem, problem.linearise(problem.theta)[1]


# --- 1.9 the condition at the start ---------------------------------------------------------------------------------


def test_1_9_a_margin_above_one_keeps_the_flow_in_its_ball() -> None:
    """`‖θ − θ₀‖ ≤ (σ₀ − √(σ₀² − 2L‖x₀ − y‖))/L`, sharp for the parabola."""
    sigma, curvature, y = 1.5, 0.8, 1.2
    rows, target = torch.tensor([[sigma, curvature]], dtype=F64), torch.tensor([[y]], dtype=F64)
    certificate = gd.certify(Parabola(), rows, target, lipschitz=curvature)
    assert certificate.margin == pytest.approx(sigma**2 / (2.0 * curvature * y), rel=1e-12)
    assert certificate.guaranteed is True
    bound = (sigma - math.sqrt(sigma**2 - 2.0 * curvature * y)) / curvature
    assert certificate.way_bound == pytest.approx(bound, rel=1e-12)
    flow = gd.flow(Parabola(), rows, target, until=8.0)
    assert np.all(flow.displacement <= bound)
    assert flow.displacement[-1] == pytest.approx(bound, rel=1e-3)
    assert flow.max_relative_deviation < 1e-8


# --- 2.1 the homotopy to gradient descent, 2.2 and 2.3 the straight line --------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("alpha", [1e-3, 0.5, 0.9])
def test_2_1_the_homotopy_is_the_damped_lift(name: str, alpha: float) -> None:
    """`(αI + (1−α)DᵀD)⁺Dᵀ = D_μ/(1−α)` with μ = α/(1−α)."""
    problem, jacobian = linearised(name)
    dense, residual = jacobian.dense(), residual_at(problem, problem.theta)
    operator = alpha * torch.eye(dense.shape[1], dtype=F64) + (1.0 - alpha) * dense.T @ dense
    expected = torch.linalg.solve(operator, dense.T @ residual)
    lifted = gd.GramLift().prepare(jacobian).lift(residual, damping=alpha / (1.0 - alpha))
    assert_close(lifted.velocity / (1.0 - alpha), expected, 1e-9)


def test_2_1_a_mode_decays_at_its_own_rate() -> None:
    """`σ²/(α + (1−α)σ²)` for singular value σ."""
    rows = with_spectrum(torch.tensor([2.0, 0.5, 0.1], dtype=F64), 5)
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    problem = gd.Problem.of(Linear(5), rows, torch.randn(3, 1, dtype=F64))
    _, jacobian = problem.linearise(problem.theta)
    alpha, residual = 0.3, residual_at(problem, problem.theta)
    lifted = gd.GramLift().prepare(jacobian).lift(-residual, damping=alpha / (1.0 - alpha))
    moved = left.T @ (rows @ lifted.velocity) / (1.0 - alpha)
    assert_close(moved, -(values**2 / (alpha + (1.0 - alpha) * values**2)) * (left.T @ residual), 1e-10)


def test_2_2_the_same_path_as_a_straight_line_in_finite_time() -> None:
    """`x = (1−t)x₀ + ty` with t = 1 − e^{−τ}, walked at constant output speed, ends where the flow in τ ends."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    start = residual_at(problem, problem.theta)
    velocity = _flow.Velocity(problem, gd.StraightLineField(), gd.GramLift())
    for tau, theta in _flow.integrate(velocity, 3.0, tol=1e-10):
        t = velocity.field.clock(tau)
        assert_close(residual_at(problem, torch.from_numpy(theta.copy())), (1.0 - t) * start, 1e-7)
    assert t == pytest.approx(1.0 - math.exp(-3.0), rel=1e-12)
    clocked = _flow.Velocity(problem, AdaptedField(), gd.GramLift())
    *_, (_, end) = _flow.integrate(clocked, 3.0, tol=1e-10)
    assert_close(torch.from_numpy(theta.copy()), torch.from_numpy(end.copy()), 1e-8)


def test_2_2_the_way_from_the_start_is_bounded_on_the_way() -> None:
    """`‖θ(t) − θ₀‖ ≤ ‖y − x₀‖ ∫dt/σ_min(D)`."""
    model, x, y = full_rank()
    flow = gd.flow(model, x, y, until=5.0)
    assert np.all(flow.displacement <= flow.path_bound * (1.0 + 1e-9))
    line = 1.0 - np.exp(-flow.time)
    residual0 = math.sqrt(2.0 * len(x) * flow.cost0)
    assert flow.path_bound[-1] == pytest.approx(residual0 * np.trapezoid(1.0 / flow.sigma_min, line), rel=1e-9)


def circles() -> tuple[nn.Module, Tensor, Tensor]:
    """K = 1 < m = 4, the range turning all the way."""
    y = torch.tensor([[0.3, 1.4], [-0.2, 1.1]], dtype=F64)
    return Circle(0.2), torch.tensor([[1.0], [1.5]], dtype=F64), y


LINES = {"full rank": full_rank, "duplicates": duplicated, "K < m": circles}


@pytest.mark.parametrize("name", LINES)
def test_2_3_the_deviation_from_the_line_follows_its_equation(name: str) -> None:
    """`x = y + (1−t)u`, `du/dt = (I−P)u/(1−t)`: off the line by `(1−t)(u − u₀)`, P from dense singular vectors."""
    model, x, y = LINES[name]()
    problem = gd.Problem.of(model, x, y)
    start = residual_at(problem, problem.theta)

    def growth(line_time: float, state: np.ndarray) -> np.ndarray:
        theta, u = (
            torch.from_numpy(state[: problem.n_params].copy()),
            torch.from_numpy(state[problem.n_params :].copy()),
        )
        dense = problem.linearise(theta)[1].dense()
        u_seen = range_basis(dense) @ (range_basis(dense).T @ u)
        return np.concatenate([-torch.linalg.pinv(dense, rtol=1e-8) @ u_seen, (u - u_seen) / (1.0 - line_time)])

    begin = np.concatenate([problem.theta.numpy(), start.numpy()])
    end = -math.expm1(-1.5)
    solved = solve_ivp(growth, (0.0, end), begin, method="DOP853", rtol=1e-11, atol=1e-12)
    u = torch.from_numpy(solved.y[problem.n_params :, -1])
    flow = gd.flow(model, x, y, until=1.5)
    expected = (1.0 - end) * float((u - start).norm() / start.norm())
    assert flow.line_deviation[-1] == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert (name == "full rank") == (expected < 1e-8)
    assert (name == "K < m") == (flow.line_deviation[-1] > 1.01 * flow.line_deviation_lost[-1] + 1e-9)


@pytest.mark.parametrize("name", LINES)
def test_2_3_what_lies_outside_the_range_is_told_apart(name: str) -> None:
    """The deviation's part outside range(D), by the dense singular vectors at the end of the path."""
    model, x, y = LINES[name]()
    problem = gd.Problem.of(model, x, y)
    start = residual_at(problem, problem.theta)
    flow = gd.flow(model, x, y, until=1.5)
    end = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    off = residual_at(problem, end) - math.exp(-1.5) * start
    basis = range_basis(naive_jacobian(model, x))
    lost = float((off - basis @ (basis.T @ off)).norm() / start.norm())
    assert flow.line_deviation_lost[-1] == pytest.approx(lost, rel=1e-7, abs=1e-9)
    assert np.all(flow.line_deviation_lost <= flow.line_deviation * (1.0 + 1e-9))


def test_2_3_while_the_projector_stands_still_the_deviation_is_known_beforehand() -> None:
    """P constant: off the line by `t‖(I−P)(x₀−y)‖`, all of it outside range(D)."""
    rows = with_spectrum(torch.tensor([2.0, 0.5, 0.0, 0.0], dtype=F64), 5)
    flow = gd.flow(Linear(5), rows, torch.randn(4, 1, dtype=F64), until=3.0)
    expected = -np.expm1(-flow.time) * math.sqrt(flow.floor / flow.cost0)
    assert np.allclose(flow.line_deviation, expected, rtol=1e-8, atol=1e-12)
    assert np.allclose(flow.line_deviation_lost, expected, rtol=1e-8, atol=1e-12)
