"""The certificate against oracles: dense decompositions, least squares, finite differences, known landscapes."""

import json
import math
from itertools import pairwise

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn

from geodescent._errors import InputError, MemoryPlanError
from geodescent.certificate import Certificate, certificate_of
from geodescent.certificate import _certificate as certificates
from geodescent.certificate import _margin as margins
from geodescent.certificate import _point as points
from geodescent.certificate import _spectrum as spectra
from geodescent.jacobian import Block, DenseColumns, Jacobian
from geodescent.problem import Problem, rounding_floor
from geodescent.problem._hessian import hessian, hessian_extremes


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp(*sizes: int, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), act())]
        return nn.Sequential(*layers[:-1]).double()


def wide(n: int = 20) -> Problem:
    return Problem.of(mlp(3, 30, 2), normal(n, 3), normal(n, 2, seed=1))


def narrow() -> Problem:
    return Problem.of(mlp(3, 5, 2), normal(30, 3), normal(30, 2, seed=1))


def repeated() -> Problem:
    X = normal(20, 3)
    X[7] = X[2]
    return Problem.of(mlp(3, 30, 2), X, normal(20, 2, seed=1))


def weighted() -> Problem:
    return Problem.of(mlp(3, 30, 2), normal(20, 3), normal(20, 2, seed=1), weights=0.2 + normal(20, seed=3).abs())


def single_precision() -> Problem:
    return Problem.of(mlp(3, 30, 2).float(), normal(20, 3).float(), normal(20, 2, seed=1).float())


PROBLEMS = {
    "wide": wide, "narrow": narrow, "repeated": repeated, "weighted": weighted, "float32": single_precision
}  # fmt: skip


class Function(nn.Module):
    """`x = f(θ)`, one sample."""

    def __init__(self, f, *theta: float) -> None:
        super().__init__()
        self.f, self.theta = f, nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.theta).reshape(1, -1) + 0.0 * x


def function(f, theta: tuple[float, ...], y: tuple[float, ...]) -> Problem:
    target = torch.tensor([y], dtype=torch.float64)
    return Problem.of(Function(f, *theta), torch.zeros(1, 1, dtype=torch.float64), target, check=False)


def scaled_system(problem: Problem) -> tuple[Tensor, Tensor]:
    """`(s D, s(x − y))`, float64."""
    outputs, jacobian = problem.linearise(problem.theta)
    s = torch.ones(problem.n_residuals, dtype=torch.float64) if problem.row_scale is None else problem.row_scale
    return jacobian.dense().double() * s[:, None], problem.residual(outputs).double() * s


# --- spectrum and floors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_spectrum_is_that_of_the_dense_jacobian(name):
    problem = PROBLEMS[name]()
    D, _ = scaled_system(problem)
    sigma = torch.linalg.svdvals(D)
    eps = torch.finfo(problem.theta.dtype).eps
    c = certificate_of(problem)
    kept = sigma[sigma > max(D.shape) * eps * sigma[0]]
    assert (c.level, c.rank, c.rcond) == ("spectrum", len(kept), pytest.approx(max(D.shape) * eps))
    rel = 1e-10 if problem.theta.dtype == torch.float64 else 1e-5  # the rows are formed from float32 records
    assert c.sigma_max == pytest.approx(float(sigma[0]), rel=rel)
    assert c.sigma_min == pytest.approx(float(kept[-1]), rel=rel)
    assert c.condition == pytest.approx(float(sigma[0] / kept[-1]), rel=rel)
    assert c.resolution == pytest.approx(max(D.shape) * eps * float(sigma[0]), rel=rel)


@pytest.mark.parametrize("name", PROBLEMS)
def test_floor_is_the_least_squares_residual(name):
    problem = PROBLEMS[name]()
    D, r = scaled_system(problem)
    c = certificate_of(problem)
    step = torch.linalg.lstsq(D, r[:, None], rcond=c.rcond, driver="gelsd").solution[:, 0]
    expected = float((r - D @ step).square().sum()) / (2.0 * problem.n_samples)
    assert c.floor == pytest.approx(expected, rel=1e-9, abs=1e-25)
    assert (c.floor == 0.0) == (c.rank == problem.n_residuals)
    assert c.cost == pytest.approx(float(r.square().sum()) / (2.0 * problem.n_samples), rel=1e-6)


@pytest.mark.parametrize("name", ["wide", "narrow", "repeated", "weighted"])
def test_gram_level_agrees_with_the_dense_one_and_states_its_resolution(name, monkeypatch):
    problem = PROBLEMS[name]()
    full = certificate_of(problem)
    monkeypatch.setattr(spectra, "DENSE_NUMBERS", 0)
    c = certificate_of(problem)
    n = min(problem.n_residuals, problem.n_params)
    assert (c.level, c.rank) == ("spectrum", full.rank)
    assert c.resolution == pytest.approx(math.sqrt(n * 2.0**-52) * full.sigma_max, rel=1e-9)
    assert c.rcond == pytest.approx(math.sqrt(n * 2.0**-52))
    assert c.sigma_max == pytest.approx(full.sigma_max, rel=1e-12)
    assert c.sigma_min == pytest.approx(full.sigma_min, rel=1e-4)
    assert c.floor == pytest.approx(full.floor, rel=1e-8)
    assert c.margin == (None if full.margin is None else pytest.approx(full.margin, rel=1e-3))


def test_gram_level_gives_a_smallest_sigma_near_its_resolution_as_a_bound(monkeypatch):
    X = normal(20, 3)
    X[7] = X[2] + 3e-7
    problem = Problem.of(mlp(3, 30, 2), X, normal(20, 2, seed=1))
    full = certificate_of(problem)
    monkeypatch.setattr(spectra, "DENSE_NUMBERS", 0)
    c = certificate_of(problem)
    assert full.rank == 40 and not full.sigma_min_is_bound
    assert c.sigma_min_is_bound and "≤" in str(c)


@pytest.mark.parametrize("name", ["wide", "narrow", "weighted"])
def test_lanczos_level_bounds_the_spectrum(name, monkeypatch):
    problem = PROBLEMS[name]()
    full = certificate_of(problem)
    monkeypatch.setattr(spectra, "DENSE_NUMBERS", 0)
    monkeypatch.setattr(spectra, "GRAM_ORDER", 0)
    monkeypatch.setattr(spectra, "LANCZOS_STEPS", 20)
    c = certificate_of(problem, target_cost=1e-6)
    assert (c.level, c.rank, c.floor, c.margin) == ("bounds", None, None, None)
    assert c.sigma_max == pytest.approx(full.sigma_max, rel=1e-6)
    assert c.sigma_max <= full.sigma_max * (1 + 1e-12)
    assert c.sigma_min_is_bound and c.sigma_min >= full.sigma_min * (1 - 1e-9)
    assert c.stopping_time is None and "too large to be diagonalised" in c.reason
    assert c.guaranteed is (False if name == "narrow" else None)


def test_no_jacobian_at_all_is_said(monkeypatch):
    problem = wide()

    def refuse(self, theta):
        raise certificates.MemoryPlanError("D needs 1 TB.")

    monkeypatch.setattr(Problem, "linearise", refuse)
    c = certificate_of(problem, target_cost=1e-3, finished=True)
    assert c.level == "not computed" and "1 TB" in c.reason and "unknown" in str(c)
    assert (c.sigma_max, c.rank, c.guaranteed, c.point.kind) == (None, None, None, "moving")


# --- guaranteed, margin, stopping time -------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma,curvature,y", [(2.0, 0.5, 0.7), (1.0, 3.0, 0.1), (0.3, 0.01, 20.0), (1.0, 1.0, 0.5)])
def test_margin_is_sharp_for_the_parabola(sigma, curvature, y):
    """x = σθ − Lθ²/2 from 0 reaches y exactly if y ≤ σ²/(2L): the top of the parabola."""
    problem = function(lambda t: sigma * t - 0.5 * curvature * t**2, (0.0,), (y,))
    c = certificate_of(problem)
    top = sigma**2 / (2.0 * curvature)
    assert c.margin == pytest.approx(top / y, rel=1e-6)
    assert c.guaranteed is None and "estimated" in c.margin_how
    proven = certificate_of(problem, lipschitz=curvature)
    assert proven.margin == pytest.approx(top / y, rel=1e-12)
    assert proven.guaranteed is (True if y < top else None)


def test_estimated_lipschitz_is_below_the_spectral_norm_of_all_second_derivatives():
    """x = (θ₁², 3θ₂θ₁): D is linear in θ and its Lipschitz constant is max over unit u of ‖[2u₁ 0; 3u₂ 3u₁]‖."""
    problem = function(lambda t: torch.stack([t[0] ** 2, 3.0 * t[1] * t[0]]), (1.0, 1.0), (0.5, 2.0))
    angles = torch.linspace(0.0, math.pi, 721, dtype=torch.float64)
    u, v = angles.cos(), angles.sin()
    changes = torch.stack([torch.stack([2 * u, 0 * u], 1), torch.stack([3 * v, 3 * u], 1)], 1)
    exact = float(torch.linalg.matrix_norm(changes, ord=2).max())
    _, r = scaled_system(problem)
    jacobian = problem.linearise(problem.theta)[1]
    velocity = spectra.spectrum_of(jacobian, r).velocity
    estimate = margins.estimated_lipschitz(problem, problem.theta, jacobian, velocity)
    assert 0.5 * exact <= estimate <= exact * (1.0 + 1e-6)


LINEAR = {
    "linear": (lambda: nn.Linear(6, 2), True),
    "sequence": (lambda: nn.Sequential(nn.Linear(6, 2)), True),
    "features": (lambda: nn.Sequential(nn.Linear(6, 12).requires_grad_(False), nn.Tanh(), nn.Linear(12, 2)), True),
    "activation last": (lambda: nn.Sequential(nn.Linear(6, 2), nn.Tanh()), False),
    "two layers": (lambda: nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)), False),
    "first layer": (lambda: nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2).requires_grad_(False)), False),
}


@pytest.mark.parametrize("name", LINEAR)
def test_guaranteed_is_proven_where_the_model_is_linear_in_theta(name):
    build, linear = LINEAR[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        problem = Problem.of(build().double(), normal(4, 6), 0.3 * normal(4, 2, seed=1))
    c = certificate_of(problem)
    assert c.rank == 8
    assert c.guaranteed is (True if linear else None)
    assert (c.margin == math.inf) == linear


def test_a_layer_used_twice_is_not_linear():
    layer = nn.Linear(4, 4).double()
    assert not margins.is_linear(Problem.of(nn.Sequential(layer, layer), normal(3, 4), normal(3, 4)))


@pytest.mark.parametrize("build", [narrow, repeated])
def test_guaranteed_is_false_where_rank_is_lost(build):
    c = certificate_of(build(), target_cost=1e-6, lipschitz=1e-9, finished=True, full_rank_so_far=True)
    assert c.guaranteed is False and c.rank < c.n_residuals and c.margin is None
    assert c.stopping_time is None and "rank is lost" in c.reason and c.causes


def test_identical_inputs_alone_refute_the_guarantee(monkeypatch):
    monkeypatch.setattr(spectra, "DENSE_NUMBERS", 0)
    monkeypatch.setattr(spectra, "GRAM_ORDER", 0)
    c = certificate_of(repeated())
    assert c.rank is None and c.guaranteed is False


def test_guaranteed_is_true_of_a_finished_run_with_full_rank_at_every_step():
    assert certificate_of(wide(), finished=True, full_rank_so_far=True).guaranteed is True
    assert certificate_of(wide(), finished=True, full_rank_so_far=False).guaranteed is None
    assert certificate_of(wide(), full_rank_so_far=True).guaranteed is None


def test_rows_of_weight_zero_ask_for_nothing():
    weights = torch.ones(20, dtype=torch.float64)
    weights[3] = 0.0
    c = certificate_of(Problem.of(mlp(3, 30, 2), normal(20, 3), normal(20, 2, seed=1), weights=weights))
    assert (c.rank, c.guaranteed, c.n_residuals, c.causes) == (38, None, 40, ())
    assert c.floor == pytest.approx(0.0, abs=1e-25)


def test_stopping_time_inverts_the_law():
    c = certificate_of(wide(), target_cost=1e-8)
    assert c.cost * math.exp(-2.0 * c.stopping_time) == pytest.approx(1e-8, rel=1e-12)
    assert certificate_of(wide(), target_cost=10.0 * c.cost).stopping_time == 0.0
    below = certificate_of(wide(), target_cost=1e-40)
    assert below.stopping_time is None and "below the rounding floor" in below.reason


# --- kinds of points -------------------------------------------------------------------------------------------------


def product(t: Tensor) -> Tensor:
    return t[0] * t[1]


def test_zero_cost_with_the_nullity_of_its_manifold():
    c = certificate_of(function(product, (2.0, 0.5), (1.0,)), finished=True)
    assert (c.point.kind, c.point.nullity, c.point.saddle) == ("zero_cost", 1, False)


def test_the_origin_of_a_product_is_a_strict_saddle():
    c = certificate_of(function(product, (0.0, 0.0), (1.0,)), finished=True)
    assert (c.point.kind, c.point.rank, c.point.nullity, c.point.saddle) == ("critical", 0, 0, True)
    assert c.point.smallest_eigenvalue == pytest.approx(-1.0)
    assert (c.rank, c.sigma_min, c.guaranteed) == (0, None, False)


def test_a_local_minimum_of_an_underparametrised_model_is_no_saddle():
    X, y = normal(12, 2), normal(12, 1, seed=1)
    model = nn.Linear(2, 1).double()
    best = torch.linalg.lstsq(torch.cat([X, torch.ones(12, 1, dtype=torch.float64)], 1), y).solution[:, 0]
    with torch.no_grad():
        model.weight.copy_(best[None, :2]), model.bias.copy_(best[2:])
    c = certificate_of(Problem.of(model, X, y), finished=True)
    assert (c.point.kind, c.point.rank, c.point.nullity, c.point.saddle) == ("critical", 3, 0, False)
    assert c.floor == pytest.approx(c.cost, rel=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_start_is_still_moving(name):
    problem = PROBLEMS[name]()
    point = certificate_of(problem, finished=True).point
    assert point.kind == "moving" and point.saddle is None and point.gradient_ratio > 1e-3
    assert certificate_of(problem).point is None


def test_a_saddle_is_found_by_lanczos_too(monkeypatch):
    monkeypatch.setattr(points, "HESSIAN_ORDER", 0)
    c = certificate_of(function(product, (0.0, 0.0), (1.0,)), finished=True)
    assert (c.point.saddle, c.point.nullity) == (True, None)
    flat = certificate_of(function(lambda t: t.sum() * torch.ones(2).double(), (0.5, 0.5), (0.0, 2.0)), finished=True)
    assert (flat.point.kind, flat.point.saddle) == ("critical", None)


@pytest.mark.parametrize("name", ["wide", "weighted", "narrow"])
def test_hessian_is_that_of_autograd_and_lanczos_bounds_it(name):
    problem = PROBLEMS[name]()

    def cost(theta: Tensor) -> Tensor:
        block = problem.blocks[0]
        r = (block.map.function.outputs(block.map.function.views(theta), block.map.inputs) - block.target).reshape(-1)
        s = 1.0 if problem.row_scale is None else problem.row_scale
        return (r * s).square().sum() / (2.0 * problem.n_samples)

    H, expected = hessian(problem, problem.theta), torch.autograd.functional.hessian(cost, problem.theta)
    assert torch.allclose(H, expected, rtol=1e-10, atol=1e-13)
    values = torch.linalg.eigvalsh(expected)
    largest, smallest = hessian_extremes(problem, problem.theta)
    assert largest == pytest.approx(float(values[-1]), rel=1e-6) and smallest >= float(values[0]) - 1e-12


# --- rounding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rounding_floor_is_where_descent_ends(dtype, scale):
    """Gauss–Newton to the end: the best cost over the last steps is within a factor 10 of the estimate."""
    model = mlp(3, 40, 2)
    with torch.no_grad():
        model[-1].weight *= scale
        model[-1].bias *= scale
    X, x0 = normal(20, 3), Problem.of(model, normal(20, 3), normal(20, 2)).outputs
    start = Problem.of(model, X, normal(20, 2)).theta
    y = (x0(start).reshape(20, 2) + 0.05 * scale * normal(20, 2, seed=1)).to(dtype)
    problem = Problem.of(model.to(dtype), X.to(dtype), y)
    theta, costs = problem.theta, []
    for _ in range(25):
        outputs, jacobian = problem.linearise(theta)
        costs.append(problem.cost(outputs))
        residual = problem.residual(outputs).double()
        theta = theta - (torch.linalg.pinv(jacobian.dense().double()) @ residual).to(dtype)
    ends = sorted(costs[-15:])
    estimate = rounding_floor(problem, theta)
    assert ends[7] / 10.0 < estimate < ends[7] * 10.0, (ends, estimate)


# --- for machines, for people ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PROBLEMS, "linear"])
def test_as_dict_is_strict_json_and_the_text_is_narrow(name):
    linear = Problem.of(nn.Linear(40, 1).double(), normal(9, 40), normal(9, 1))
    c = certificate_of(linear if name == "linear" else PROBLEMS[name](), target_cost=1e-6, finished=True)
    told = json.loads(json.dumps(c.as_dict(), allow_nan=False))
    assert set(told) == set(Certificate.__dataclass_fields__)
    assert told["rank"] == c.rank and told["guaranteed"] is c.guaranteed
    assert told["margin"] == (None if c.margin is None or math.isinf(c.margin) else c.margin)
    assert [cause["kind"] for cause in told["causes"]] == [cause.kind for cause in c.causes]
    assert all(set(cause) >= {"kind", "where", "cost", "sentence"} for cause in told["causes"])
    lines = str(c).splitlines()
    assert max(map(len, lines)) <= 78 and {line.split()[0] for line in lines} >= {"guaranteed", "rank", "floors"}


@pytest.mark.parametrize(("options", "sentence"), [
    ({"target_cost": -1.0}, r"target_cost must be finite and ≥ 0: got -1\.0"),
    ({"target_cost": math.nan}, "target_cost must be finite"),
    ({"rcond": 1.0}, r"rcond is relative .* \[0, 1\): got 1\.0"),
    ({"lipschitz": -0.1}, r"lipschitz must be finite and ≥ 0: got -0\.1"),
])  # fmt: skip
def test_wrong_questions_raise(options, sentence):
    with pytest.raises(InputError, match=sentence):
        certificate_of(wide(3), **options)


def test_the_certificate_leaves_the_model_as_it_was():
    problem = wide()
    model, before, state = problem.blocks[0].map.model, problem.theta, torch.random.get_rng_state()
    certificate_of(problem, finished=True)
    assert torch.equal(problem.theta, before) and torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and model.training


def test_a_point_with_nonfinite_outputs_is_told_and_not_guessed():
    problem = wide(5)
    c = certificate_of(problem, theta=problem.theta * math.nan, finished=True)
    assert (c.level, c.rank, c.guaranteed, c.point.kind) == ("not computed", None, None, "moving")
    assert "NaN or infinite" in c.reason
    assert c.as_dict()["cost"] is None and str(c)


def bare(matrix: Tensor) -> Jacobian:
    """The Jacobian that is this matrix."""
    m, k = matrix.shape
    rows = DenseColumns(matrix[:, None], torch.arange(k), "given")
    return Jacobian((Block((rows,), m, 1),), k, matrix.dtype, matrix.device)


def hidden_loss(n: int) -> Tensor:
    """A triangle of ones on the diagonal and −1 above it: σ_min is near 2^−n and no pivot shows it."""
    return torch.eye(n, dtype=torch.float64) - torch.ones(n, n, dtype=torch.float64).triu(1)


MATRICES = {
    "wide": normal(7, 60),
    "tall": normal(60, 7),
    "square": normal(8, 8),
    "one row": normal(1, 5),
    "one column": normal(5, 1),
    "repeated rows": normal(5, 40)[[0, 1, 2, 3, 4, 0, 1]],
    "repeated columns": normal(40, 5)[:, [0, 1, 2, 3, 4, 0, 1]],
    "low rank": normal(9, 4) @ normal(4, 11, seed=1),
    "hidden loss": hidden_loss(60),
    "hidden loss, transposed": hidden_loss(60).T,
    "hidden loss, wide": torch.cat([hidden_loss(60), torch.zeros(60, 3)], 1),
    "nothing": torch.zeros(4, 6, dtype=torch.float64),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_spectrum_of_d_is_that_of_its_singular_values(name: str) -> None:
    """Full rank; a loss that a pivot of the QR shows; and one that no pivot shows."""
    matrix = MATRICES[name].contiguous()
    r = normal(len(matrix), seed=3)
    found = spectra.spectrum_of(bare(matrix), r)
    u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
    keep = sigma > found.rcond * sigma[0]
    u, vh, kept = u[:, keep], vh[keep], sigma[keep]
    assert (found.rank, found.level) == (int(keep.sum()), "spectrum")
    assert found.sigma_max == pytest.approx(float(sigma[0]))
    assert found.sigma_min == (pytest.approx(float(kept[-1])) if len(kept) else None)
    assert_close(found.velocity, -(vh.T @ ((u.T @ r) / kept)), 1e-10)
    assert_close(found.reachable, u @ (u.T @ r), 1e-10)


@pytest.mark.parametrize("name", ["wide", "weighted"])
def test_the_estimate_of_the_lipschitz_constant_is_that_of_dense_differences(name: str) -> None:
    problem = PROBLEMS[name]()
    d, r = scaled_system(problem)
    velocity = -torch.linalg.pinv(d) @ r
    generator = torch.Generator().manual_seed(0)
    directions = [velocity] + [torch.randn(len(velocity), generator=generator, dtype=torch.float64) for _ in range(2)]
    expected = 0.0
    for u in directions:
        for h in (float(velocity.norm()), 1e-3 * float(velocity.norm())):
            moved = problem.linearise(problem.theta + h * u / u.norm())[1].dense()
            moved = moved if problem.row_scale is None else problem.row_scale[:, None] * moved
            expected = max(expected, float(torch.linalg.matrix_norm(moved - d, ord=2)) / h)
    c = certificate_of(problem)
    estimate = c.sigma_min**2 / (2.0 * c.margin * float(r.norm()))
    assert 0.98 * expected <= estimate <= expected * (1.0 + 1e-6)


def test_where_a_second_jacobian_does_not_fit_the_margin_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> float:
        raise MemoryPlanError("too large")

    monkeypatch.setattr(margins, "estimated_lipschitz", refuse)
    c = certificate_of(wide())
    assert c.margin is None and c.rank == c.n_residuals
