"""Kinds of points, planted: sixty, drawn by a seed."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from support.laws import naive_jacobian
from support.models import Given
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import Landscape, classify, critical_manifold

EACH = 12  # Points of every kind.
SEED = 20231118


@dataclass(frozen=True)
class Planted:
    """A model at a point whose kind is known."""

    model: nn.Module
    X: Tensor
    y: Tensor
    kind: str
    dimension: int | None = None


class Planter:
    """Draws points of each kind."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def mlp(self, *sizes: int) -> nn.Sequential:
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
        model = nn.Sequential(*layers[:-1]).double()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(self.normal(*p.shape) / max(p.shape[-1], 1) ** 0.5)
        return model

    def of(self, f: Callable[[Tensor], Tensor], theta: Tensor, y: Tensor, kind: str, dimension: int | None) -> Planted:
        """A function of θ in coordinates of its own: θ = Mφ, M random and well conditioned."""
        n = len(theta)
        turn = torch.linalg.qr(self.normal(n, n))[0] * (0.5 + torch.rand(n, generator=self.generator).double())
        model = Given(lambda phi: f(turn @ phi), torch.linalg.solve(turn, theta))
        return Planted(model, torch.zeros(1, len(y), dtype=torch.float64), y[None], kind, dimension)

    def smooth(self, n: int, m: int) -> Callable[[Tensor], Tensor]:
        """A random smooth map R^n → R^m of full rank."""
        a, b, c = self.normal(m, n), self.normal(m, m), self.normal(m, n)
        return lambda theta: a @ theta + 0.3 * b @ torch.tanh(c @ theta)

    # --- one of each kind

    def regular(self, i: int) -> Planted:
        n, m = self.integer(3, 8), self.integer(2, 4)
        X = self.normal(n, m)
        return Planted(self.mlp(m, self.integer(2, 6), 2), X, self.normal(n, 2), "regular")

    def zero_cost(self, i: int) -> Planted:
        if i % 3 == 0:  # a network at its own outputs, K > m
            model, X = self.mlp(3, 6, 1), self.normal(self.integer(3, 8), 3)
            return Planted(model, X, model(X).detach(), "zero_cost", 31 - len(X))
        if i % 3 == 1:  # few parameters: a point
            k = self.integer(2, 5)
            f, theta = self.smooth(k, k + 3), self.normal(k)
            return self.of(f, theta, f(theta), "zero_cost", 0)
        d = self.integer(0, 2)  # a crossing: rank is lost at the point alone
        return self.of(lambda t: (t[0] * t[1])[None], torch.cat([torch.zeros(2).double(), self.normal(d)]),
                       torch.zeros(1).double(), "zero_cost", 1 + d)  # fmt: skip

    def critical_submanifold(self, i: int) -> Planted:
        k, d = self.integer(1, 4), self.integer(1, 4)
        if i % 2:  # two targets for one input, enough parameters
            model, X = self.mlp(3, 5, 1), self.normal(6, 3)
            y = model(X).detach()
            X, off = torch.cat([X, X[:k]]), self.normal(k, 1)
            return Planted(
                model, X, torch.cat([y, y[:k]]) + torch.cat([off, 0 * y[k:], -off]), "critical_submanifold", 26 - 6
            )
        f, theta = self.smooth(k + d, k), self.normal(k + d)
        off = self.normal(2)
        return self.of(lambda t: torch.cat([f(t), 0.0 * t[:2]]), theta, torch.cat([f(theta), off]),
                       "critical_submanifold", d)  # fmt: skip

    def isolated(self, i: int) -> Planted:
        k = self.integer(1, 4)
        if i % 3 == 0:  # D loses rank at the point alone, and C is flat to fourth order
            f, theta, none = self.smooth(k, k), self.normal(k), torch.zeros(1).double()
            return self.of(lambda t: torch.cat([f(t[1:]), t[:1] ** 2, 0.0 * t[:1] + 1.0]), torch.cat([none, theta]),
                           torch.cat([f(theta), none, none]), "isolated", 0)  # fmt: skip
        f, theta = self.smooth(k, k + 2), self.normal(k)
        d = torch.func.jacrev(f)(theta)
        off = self.normal(k + 2)
        off = off - d @ torch.linalg.lstsq(d, off[:, None]).solution[:, 0]
        return self.of(f, theta, f(theta) + 0.05 * off, "isolated", 0)

    def strict_saddle(self, i: int) -> Planted:
        if i % 3 == 0:  # a network at θ = 0, targets of mean zero
            model, X = self.mlp(2, 3, 1), self.normal(8, 2)
            with torch.no_grad():
                for p in model.parameters():
                    p.zero_()
            y = self.normal(8, 1)
            return Planted(model, X, y - y.mean(0), "strict_saddle")
        d = 0 if i % 3 == 1 else self.integer(1, 3)
        theta = torch.cat([torch.zeros(2).double(), self.normal(d)])
        return self.of(lambda t: (t[0] * t[1])[None], theta, torch.ones(1).double(), "strict_saddle", d)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regular", "zero_cost", "critical_submanifold", "isolated", "strict_saddle"])
def test_1_5_planted_points_are_told_apart(kind: str) -> None:
    planter = Planter(SEED)
    for i in range(EACH):
        planted = getattr(planter, kind)(i)
        before = [p.clone() for p in planted.model.parameters()]
        landscape = classify(planted.model, planted.X, planted.y)
        assert landscape.kind == planted.kind, (SEED, i, str(landscape))
        if planted.dimension is not None:
            assert landscape.dimension == planted.dimension, (SEED, i, str(landscape))
        assert all(torch.equal(a, b) for a, b in zip(before, planted.model.parameters(), strict=True))
        assert landscape.distance == (None if kind == "regular" else 0.0)
        assert str(landscape) and landscape.as_dict()["kind"] == kind


def test_1_5_the_rank_alone_says_nothing_of_the_dimension() -> None:
    """x = θ₁θ₂, y = 1 at 0: r = 0 and K − r = 2, but an isolated strict saddle."""
    model = Given(lambda t: (t[0] * t[1])[None], torch.zeros(2, dtype=torch.float64))
    landscape = classify(model, torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    kind, rank, nullity, dimension = landscape.kind, landscape.rank, landscape.nullity, landscape.dimension
    assert (kind, rank, nullity, dimension) == ("strict_saddle", 0, 0, 0)
    assert landscape.smallest_eigenvalue == pytest.approx(-1.0)


def test_1_5_along_a_critical_submanifold_the_cost_is_constant() -> None:
    """Two targets for one input: descent ends at C > 0, on a set of dimension K − r, that goes on from there."""
    planted = Planter(3).critical_submanifold(1)
    start = [p.clone() for p in planted.model.parameters()]
    path = critical_manifold(planted.model, planted.X, planted.y, steps=30)
    assert len(path.theta) == 31 and path.length > 0.2
    assert float(path.cost[0]) > 1e-3 and bool(((path.cost - path.cost[0]).abs() < 1e-12 * path.cost[0]).all())
    assert bool((path.gradient < 1e-7).all()) and set(path.nullity.tolist()) == {planted.dimension}
    assert all(torch.equal(a, b) for a, b in zip(start, planted.model.parameters(), strict=True))
    landscape = classify(planted.model, planted.X, planted.y)
    assert (landscape.kind, landscape.dimension) == ("critical_submanifold", landscape.n_params - landscape.rank)


def test_1_5_a_walk_starts_at_a_critical_point_that_is_not_alone() -> None:
    planter = Planter(5)
    regular, isolated = planter.regular(0), planter.isolated(1)
    with pytest.raises(gd.InputError, match="this is no critical point"):
        critical_manifold(regular.model, regular.X, regular.y)
    with pytest.raises(gd.InputError, match="has no kernel here"):
        critical_manifold(isolated.model, isolated.X, isolated.y)


def test_single_precision_is_refused_with_the_way_out() -> None:
    model = torch.nn.Linear(2, 1)
    for call in (classify, critical_manifold):
        with pytest.raises(gd.InputError, match=r"needs float64, the model computes in float32: call model.double\(\)"):
            call(model, torch.zeros(3, 2), torch.zeros(3, 1))


@pytest.mark.slow
def test_the_dimension_is_at_most_the_nullity() -> None:
    """Also where a descent has ended before it came to its critical point (K < m)."""
    torch.manual_seed(1)
    X, y = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 1, dtype=torch.float64)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    gd.fit(model, X, y, max_steps=200)
    landscape = classify(model, X, y)
    assert landscape.dimension is None or landscape.dimension <= landscape.nullity


def test_too_many_parameters_are_refused() -> None:
    model = nn.Sequential(nn.Linear(10, 200), nn.Tanh(), nn.Linear(200, 1)).double()
    with pytest.raises(gd.InputError, match="K = 2401 parameters: the Hessian is formed up to 1500"):
        classify(model, torch.zeros(3, 10).double(), torch.zeros(3, 1).double())


# --- the critical point next to where a descent ended ----------------------------------------------------------------

ONE = torch.ones(1, dtype=torch.float64)
SAMPLE, PAIR = torch.zeros(1, 1).double(), torch.zeros(1, 2).double()


def placed(f: Callable[[Tensor], Tensor], *theta: float) -> Given:
    return Given(f, torch.tensor(theta, dtype=torch.float64))


def test_a_critical_point_is_looked_for_within_a_hundredth() -> None:
    """Of max(1, ‖θ‖): a walk along the line θ₁ = 0 sets out from it at 0.005, and from nowhere at 0.015."""

    def first_of_walk(far: float) -> Tensor:
        model = placed(lambda t: torch.cat([t[:1], ONE]), far, 0.5)
        return critical_manifold(model, SAMPLE, PAIR, steps=1).theta[0]

    assert abs(float(first_of_walk(0.005)[0])) < 1e-12
    with pytest.raises(gd.InputError, match="Newton's iteration finds none near by"):
        first_of_walk(0.015)


def test_the_distance_to_the_point_described_is_reported() -> None:
    def at(*theta: float) -> Landscape:
        return classify(placed(lambda t: torch.cat([t[:1], ONE]), *theta), SAMPLE, PAIR)

    landscape = at(5e-4, 2.0)
    assert (landscape.kind, landscape.dimension) == ("critical_submanifold", 1)
    assert landscape.distance == pytest.approx(5e-4, rel=1e-6)
    assert ", 5.0e-04 away, one of a set of dimension 1" in str(landscape)
    assert at(2e-3, 2.0).kind == "regular"


def test_the_curvature_reported_is_that_of_the_point_described() -> None:
    def at(theta: float) -> Landscape:
        return classify(placed(lambda t: torch.cat([t + 10.0 * t**2, ONE]), theta), SAMPLE, PAIR)

    assert (at(5e-8).kind, at(5e-8).distance) == ("isolated", 0.0)
    assert at(5e-4).distance == pytest.approx(5e-4, rel=1e-6)
    assert at(5e-4).smallest_eigenvalue == pytest.approx(1.0, rel=1e-6)


def test_a_small_cost_is_no_zero_and_rounding_is_no_rank() -> None:
    assert classify(placed(lambda t: t, 4e-9), SAMPLE, SAMPLE).kind == "regular"
    ranks = [classify(placed(lambda t: t**2, t), SAMPLE, ONE[None]).rank for t in (1e-14, 2e-12)]
    assert ranks == [0, 1]


def test_weights_enter_the_residual_and_its_projection() -> None:
    planter = Planter(0)
    model, X = planter.mlp(3, 5, 1), planter.normal(4, 3)
    X[1] = X[0]
    y, weights = model(X).detach(), torch.tensor([1.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    y[0], y[1] = y[0] + 0.3, y[1] - 0.1  # their weighted mean is where the model stands
    assert classify(model, X, y, weights=weights).kind == "critical_submanifold"
    assert classify(model, X, y).kind == "regular"
    y, scale = planter.normal(4, 1), weights.sqrt()
    left, values, _ = torch.linalg.svd(scale[:, None] * naive_jacobian(model, X), full_matrices=False)
    basis, residual = left[:, values > 1e-10 * values[0]], scale * (model(X).detach() - y)[:, 0]
    expected = float((basis.T @ residual).norm() / residual.norm())
    assert classify(model, X, y, weights=weights).gradient_ratio == pytest.approx(expected, rel=1e-9)
