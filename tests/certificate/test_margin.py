"""What is guaranteed: the margin with its L, rank that is lost or kept, and the stopping time."""

import math

import pytest
import torch
from support.causes import normal
from support.certified import PROBLEMS, function, narrow, repeated, tanh_net, weighted_system, wide
from torch import Tensor, nn

import geodescent as gd
from geodescent import InputError, MemoryPlanError, Problem
from geodescent._budget import Budget, spending
from geodescent.certificate import certificate_of, estimated_lipschitz, spectrum_of
from geodescent.metric import EUCLIDEAN


class Limited:
    """An output map that is linearised so many times, and then finds no memory for it."""

    def __init__(self, outputs: gd.SampleMap, times: int) -> None:
        self.outputs, self.times = outputs, times

    def __getattr__(self, name: str):
        return getattr(self.outputs, name)

    def __call__(self, theta: Tensor) -> Tensor:
        return self.outputs(theta)

    def linearise(self, theta: Tensor):
        self.times -= 1
        if self.times < 0:
            raise MemoryPlanError("D needs 1 TB.")
        return self.outputs.linearise(theta)


def limited(times: int) -> Problem:
    (block,) = wide().blocks
    return Problem.over(Limited(block.map, times), block.target)


def test_no_jacobian_at_all_is_said() -> None:
    c = certificate_of(limited(0), target_cost=1e-3, describe_point=True)
    assert c.level == "not computed" and "1 TB" in c.reason and "unknown" in str(c)
    assert (c.sigma_max, c.rank, c.guaranteed, c.point.kind) == (None, None, None, "unknown")
    assert c.cost == pytest.approx(certificate_of(wide()).cost, rel=1e-14)


def test_where_a_second_jacobian_does_not_fit_the_margin_is_unknown() -> None:
    c = certificate_of(limited(1))
    assert c.margin is None and c.rank == c.n_residuals


# --- the margin and its L --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma,curvature,y", [(2.0, 0.5, 0.7), (1.0, 3.0, 0.1), (0.3, 0.01, 20.0), (1.0, 1.0, 0.5)])
def test_margin_is_sharp_for_the_parabola(sigma: float, curvature: float, y: float) -> None:
    """x = σθ − Lθ²/2 from 0 reaches y exactly if y ≤ σ²/(2L): the top of the parabola."""
    problem = function(lambda t: sigma * t - 0.5 * curvature * t**2, (0.0,), (y,))
    c = certificate_of(problem, metric=EUCLIDEAN)
    top = sigma**2 / (2.0 * curvature)
    assert c.margin == pytest.approx(top / y, rel=1e-6)
    assert c.guaranteed is None and "estimated" in c.margin_how
    proven = certificate_of(problem, lipschitz=curvature, metric=EUCLIDEAN)
    assert proven.margin == pytest.approx(top / y, rel=1e-12)
    assert proven.guaranteed is (True if y < top else None)


def test_estimated_lipschitz_is_below_the_spectral_norm_of_all_second_derivatives() -> None:
    """x = (θ₁², 3θ₂θ₁): D is linear in θ and its Lipschitz constant is max over unit u of ‖[2u₁ 0; 3u₂ 3u₁]‖."""
    problem = function(lambda t: torch.stack([t[0] ** 2, 3.0 * t[1] * t[0]]), (1.0, 1.0), (0.5, 2.0))
    angles = torch.linspace(0.0, math.pi, 721, dtype=torch.float64)
    u, v = angles.cos(), angles.sin()
    changes = torch.stack([torch.stack([2 * u, 0 * u], 1), torch.stack([3 * v, 3 * u], 1)], 1)
    exact = float(torch.linalg.matrix_norm(changes, ord=2).max())
    r, jacobian = problem.linearise(problem.theta)
    estimate = estimated_lipschitz(problem, problem.theta, jacobian, spectrum_of(jacobian, r).velocity)
    assert 0.5 * exact <= estimate <= exact * (1.0 + 1e-6)


@pytest.mark.parametrize("name", ["wide", "weighted"])
def test_the_estimate_of_the_lipschitz_constant_is_that_of_dense_differences(name: str) -> None:
    problem = PROBLEMS[name]()
    d, r = weighted_system(problem)
    velocity = -torch.linalg.pinv(d) @ r
    generator = torch.Generator().manual_seed(0)
    directions = [velocity] + [torch.randn(len(velocity), generator=generator, dtype=torch.float64) for _ in range(2)]
    expected = 0.0
    for u in directions:
        for h in (float(velocity.norm()), 1e-3 * float(velocity.norm())):
            moved, _ = weighted_system(problem, problem.theta + h * u / u.norm())
            expected = max(expected, float(torch.linalg.matrix_norm(moved - d, ord=2)) / h)
    c = certificate_of(problem)
    estimate = c.sigma_min**2 / (2.0 * c.margin * float(r.norm()))
    assert 0.98 * expected <= estimate <= expected * (1.0 + 1e-6)


LINEAR = {
    "linear": (lambda: nn.Linear(6, 2), True),
    "sequence": (lambda: nn.Sequential(nn.Linear(6, 2)), True),
    "features": (lambda: nn.Sequential(nn.Linear(6, 12).requires_grad_(False), nn.Tanh(), nn.Linear(12, 2)), True),
    "activation last": (lambda: nn.Sequential(nn.Linear(6, 2), nn.Tanh()), False),
    "two layers": (lambda: nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)), False),
    "first layer": (lambda: nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2).requires_grad_(False)), False),
}


@pytest.mark.parametrize("name", LINEAR)
def test_guaranteed_is_proven_where_the_model_is_linear_in_theta(name: str) -> None:
    build, linear = LINEAR[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        problem = Problem.of(build().double(), normal(4, 6), 0.3 * normal(4, 2, seed=1))
    c = certificate_of(problem)
    assert c.rank == 8
    assert c.guaranteed is (True if linear else None)
    assert (c.margin == math.inf) == linear


def test_a_layer_used_twice_is_not_linear() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(4, 4).double()
    c = certificate_of(Problem.of(nn.Sequential(layer, layer), normal(3, 4), normal(3, 4)))
    assert c.rank == 12 and c.margin < math.inf and "estimated" in c.margin_how


def test_one_block_that_is_not_linear_makes_the_problem_not_linear() -> None:
    """Zero weights: the second block's formula is affine as well, but nobody knows that of it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(6, 2).double()
    data = gd.RowBlock("data", gd.SampleMap(layer, normal(4, 6)), 0.3 * normal(4, 2, seed=1))
    size = gd.RowBlock("size", gd.FunctionMap(lambda theta: theta[:2], data.map.theta), torch.zeros(2).double())
    assert certificate_of(Problem((data,))).guaranteed is True
    c = certificate_of(Problem((data, size)))
    assert c.rank == 10 and c.guaranteed is None and "estimated" in c.margin_how


def test_where_sigma_min_is_only_a_bound_a_linear_model_has_no_way_bound() -> None:
    X = normal(4, 6)
    X[3] = X[2] + 1e-7
    with torch.random.fork_rng():
        torch.manual_seed(0)
        problem = Problem.of(nn.Linear(6, 1).double(), X, 0.3 * normal(4, 1, seed=1))
    full = certificate_of(problem)
    assert full.guaranteed is True and full.way_bound > 0.0
    with spending(Budget(spectrum_numbers=0)):
        c = certificate_of(problem)
    assert c.rank == 4 and c.sigma_min_is_bound
    assert (c.margin, c.way_bound, c.guaranteed) == (math.inf, None, None)


# --- guaranteed and the stopping time --------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [narrow, repeated])
def test_guaranteed_is_false_where_rank_is_lost(build) -> None:
    c = certificate_of(build(), target_cost=1e-6, lipschitz=1e-9, describe_point=True, full_rank_so_far=True)
    assert c.guaranteed is False and c.rank < c.n_residuals and c.margin is None
    assert c.stopping_time is None and "rank is lost" in c.reason and c.causes


def test_identical_inputs_alone_refute_the_guarantee() -> None:
    with spending(Budget(spectrum_numbers=0, spectrum_order=0)):
        c = certificate_of(repeated())
    assert c.rank is None and c.guaranteed is False


def test_guaranteed_is_true_of_a_finished_run_with_full_rank_at_every_step() -> None:
    assert certificate_of(wide(), describe_point=True, full_rank_so_far=True).guaranteed is True
    assert certificate_of(wide(), describe_point=True, full_rank_so_far=False).guaranteed is None
    assert certificate_of(wide(), describe_point=True).guaranteed is None


def test_rows_of_weight_zero_ask_for_nothing() -> None:
    weights = torch.ones(20, dtype=torch.float64)
    weights[3] = 0.0
    c = certificate_of(Problem.of(tanh_net(3, 30, 2), normal(20, 3), normal(20, 2, seed=1), weights=weights))
    assert (c.rank, c.guaranteed, c.n_residuals, c.causes) == (38, None, 40, ())
    assert c.floor == pytest.approx(0.0, abs=1e-25)


WEIGHT_ZERO = {"D": Budget(), "DDᵀ": Budget(spectrum_numbers=0), "bounds": Budget(spectrum_numbers=0, spectrum_order=0)}


@pytest.mark.parametrize("level", WEIGHT_ZERO)
@pytest.mark.parametrize("width", [30, 4], ids=["K > m", "K < m"])
def test_rows_of_weight_zero_are_as_if_they_were_absent(width: int, level: str) -> None:
    """38 or 26 parameters for 40 rows, of which 14 count: rank, σ_min, margin and sentences speak of the 14."""
    X, y = normal(20, 3), normal(20, 2, seed=1)
    weights = torch.zeros(20, dtype=torch.float64)
    weights[[1, 4, 6, 7, 11, 13, 19]] = 1.0
    kept = weights > 0.0
    with spending(WEIGHT_ZERO[level]):
        c = certificate_of(Problem.of(tanh_net(3, width, 2), X, y, weights=weights), target_cost=1e-6)
        few = certificate_of(Problem.of(tanh_net(3, width, 2), X[kept], y[kept]), target_cost=1e-6)
    assert (c.level, c.rank, c.guaranteed, c.sigma_min_is_bound) == (few.level, few.rank, None, few.sigma_min_is_bound)
    assert (c.n_residuals, c.n_rows_wanted, c.regime) == (40, 14, few.regime)
    assert c.sigma_min == pytest.approx(few.sigma_min, rel=1e-4) and c.floor == few.floor
    assert c.margin == (None if few.margin is None else pytest.approx(few.margin, rel=1e-3))
    assert (c.stopping_time is None) == (c.rank is None)
    text = " ".join(str(c).split())
    assert "m = 40 residuals, 14 of them of positive weight" in text
    assert c.rank is None or "14 of 14 rows of positive weight" in text
    assert "of positive weight" not in str(few)


def test_fewer_parameters_than_rows_that_count_are_called_so_and_no_others() -> None:
    """26 parameters for 40 rows: as long as 26 count or fewer, rank is lost for another reason if it is lost."""
    X, y = normal(20, 3), normal(20, 2, seed=1)
    X[1] = X[0]
    weights = torch.ones(20, dtype=torch.float64)
    weights[7:] = 0.0
    c = certificate_of(Problem.of(tanh_net(3, 4, 2), X, y, weights=weights))
    assert c.guaranteed is False and "rank is lost here" in str(c) and "12 of 14 rows" in " ".join(str(c).split())
    assert "26 parameters: a classical fit" in " ".join(
        str(certificate_of(Problem.of(tanh_net(3, 4, 2), X, y))).split()
    )


def test_stopping_time_inverts_the_law() -> None:
    c = certificate_of(wide(), target_cost=1e-8)
    assert c.cost * math.exp(-2.0 * c.stopping_time) == pytest.approx(1e-8, rel=1e-12)
    assert certificate_of(wide(), target_cost=10.0 * c.cost).stopping_time == 0.0
    below = certificate_of(wide(), target_cost=1e-40)
    assert below.stopping_time is None and "below the rounding floor" in below.reason


@pytest.mark.parametrize(("options", "sentence"), [
    ({"target_cost": -1.0}, r"target_cost must be finite and ≥ 0: got -1\.0"),
    ({"target_cost": math.nan}, "target_cost must be finite"),
    ({"rcond": 1.0}, r"rcond is relative .* \[0, 1\): got 1\.0"),
    ({"lipschitz": -0.1}, r"lipschitz must be finite and ≥ 0: got -0\.1"),
])  # fmt: skip
def test_wrong_questions_raise(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        certificate_of(wide(3), **options)
