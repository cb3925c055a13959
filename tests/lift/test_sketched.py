"""The preconditioner of short solves, from one random cotangent a sample, and the lift behind it."""

from collections.abc import Callable

import pytest
import torch
from support.laws import assert_close
from support.lifts import oracle
from support.matrices import F64, vector, with_spectrum
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import EulerWalk, GainRatio, Linearised
from geodescent.jacobian import (
    BlockJacobian,
    DenseColumns,
    DenseCotangents,
    DenseInputs,
    IndexInputs,
    OuterColumns,
    goes_by_passes,
)
from geodescent.jacobian._product_columns import ProductColumns
from geodescent.lift import SketchedFactors, SketchedLift, SolveGoal
from geodescent.lift._sketched_factors import Moment, SketchedFactor
from geodescent.problem import chosen_samples

LONG = 1e13  # Iterations: what a step costs where a solve is to go on to the end.


class Words(nn.Module):
    """An embedding of seven words, of which some come often, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(7, 4), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table(x).flatten(1))


class Remembering(nn.Module):
    """An LSTM whose last state a layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cell(x)[0][:, -1])


class Gained(nn.Module):
    """A layer, and parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 2)
        self.gain = nn.Parameter(torch.rand(2) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.last(torch.tanh(self.first(x)))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(50, 40), nn.Tanh(), nn.Linear(40, 2))


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2))


MODELS = pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (mlp, lambda n: torch.randn(n, 5)),
        (wide, lambda n: torch.randn(n, 50)),
        (Gained, lambda n: torch.randn(n, 5)),
        (conv, lambda n: torch.randn(n, 1, 5, 5)),
        (Remembering, lambda n: torch.randn(n, 4, 3)),
        (Words, lambda n: torch.randint(0, 7, (n, 3))),
    ],
    ids=["mlp", "wide", "own parameter", "conv", "lstm", "words"],
)
Make = Callable[[], nn.Module]
Drawn = Callable[[int], Tensor]


def problem_of(
    make: Make, inputs: Drawn, n: int = 20, *, dtype: torch.dtype = F64, weighted: bool = False
) -> gd.Problem:
    """A problem with noise, so that no step fits all."""
    torch.manual_seed(0)
    x = inputs(n)
    x = x.to(dtype) if x.is_floating_point() else x
    weights = torch.rand(n, dtype=dtype) + 0.1 if weighted else None
    return gd.Problem.of(make().to(dtype), x, torch.randn(n, 2, dtype=dtype), weights=weights)


# --- moments ----------------------------------------------------------------------------------------------------------


def random_sides(d: int) -> tuple[Tensor, Tensor]:
    return vector(d * 3, 5).view(d, 3), vector(3 * d, 6).view(3, d)


@pytest.mark.parametrize(("count", "order"), [(3, 12), (6, 12), (7, 12), (40, 12), (191, 12)])
@pytest.mark.parametrize("damping", [1e-6, 0.3])
def test_a_moment_is_the_mean_square_and_its_inverse_the_dense_one(count: int, order: int, damping: float) -> None:
    """By Woodbury where the vectors are at most half the order, else by Cholesky."""
    vectors = vector(count * order).view(count, order)
    moment, exact = Moment.of(vectors[:, None], 5.0), vectors.T @ vectors / 5.0
    assert (moment.rows is None) == (2 * count > order) == (moment.square is not None)
    assert moment.trace == pytest.approx(float(exact.trace())) and moment.mean == pytest.approx(moment.trace / order)
    inverse = torch.linalg.inv(exact + damping * torch.eye(order, dtype=F64))
    x, y = random_sides(order)
    assert_close(moment.inverse(damping, left=True)(x), inverse @ x, 1e-8)
    assert_close(moment.inverse(damping, left=False)(y), y @ inverse, 1e-8)


def test_woodbury_and_cholesky_are_the_same_inverse() -> None:
    rows = vector(4 * 12).view(4, 12)
    x, y = random_sides(12)
    by_rows = Moment(None, rows, None, 1.0, 12)
    by_square = Moment(rows.T @ rows, None, None, 1.0, 12)
    for damping in (1e-5, 1.0, 1e3):
        for left, side in ((True, x), (False, y)):
            ours, theirs = (m.inverse(damping, left=left)(side) for m in (by_rows, by_square))
            assert_close(ours, theirs, 1e-9)


@pytest.mark.parametrize("damping", [1e-14, 1e-11])
def test_below_the_rounding_of_float32_both_are_damped_alike(damping: float) -> None:
    """By the least damping in place of what was asked: neither is larger than the other by the ratio of the two."""
    rows = torch.linalg.qr(vector(12 * 4).view(12, 4))[0].T.float()
    by_rows, by_square = Moment(None, rows, None, 4.0, 12), Moment(rows.T @ rows, None, None, 4.0, 12)
    inside = rows.T @ torch.ones(4, 1)
    ours, theirs = (moment.inverse(damping, left=True)(inside) for moment in (by_rows, by_square))
    assert_close(theirs, inside, 0.1)
    assert_close(ours, inside, 0.2)


def test_of_many_vectors_some_are_taken_and_the_trace_is_of_all() -> None:
    """Sixteen times the order suffice: 64 of 640 equal ones are as many as all."""
    vectors = vector(4).expand(640, 4) * torch.ones(640, 1, dtype=F64)
    moment = Moment.of(vectors[:, None], 640.0)
    assert_close(moment.square, torch.outer(vectors[0], vectors[0]), 1e-12)
    mixed = vector(640 * 4).view(640, 4)
    moment, whole = Moment.of(mixed[:, None], 640.0), mixed.T @ mixed / 640.0
    assert moment.trace == pytest.approx(float(whole.trace()), rel=1e-12)
    assert 0.01 < float((moment.square - whole).norm() / whole.norm()) < 0.5
    assert_close(moment.square, mixed[::10].T @ mixed[::10] / 64.0, 1e-12)


@pytest.mark.parametrize("positions", [2, 5, 8, 16, 24])
def test_where_some_vectors_are_taken_all_positions_have_their_turn(positions: int) -> None:
    """Vectors that differ by their position alone: as many evenly spaced ones as there are positions know them all."""
    order, n = 3, 40 * 16
    of_position = vector(positions * order).view(1, positions, order).expand(n, positions, order)
    moment, whole = Moment.of(of_position, n * positions), of_position.flatten(0, 1)
    assert_close(moment.square, whole.T @ whole / (n * positions), 0.1)


@pytest.mark.parametrize("alike", [True, False])
def test_positions_that_act_together_count_as_one(alike: bool) -> None:
    """The trace of a layer's part is `Σ‖Σ_p g aᵀ‖²/N`: with P equal positions P times that of independent ones."""
    positions, n = 6, 200
    inputs, cotangents = vector(n * 4, 1).view(n, 1, 4), vector(n * 2, 2).view(n, 1, 1, 2)
    if alike:
        a, g = inputs.expand(n, positions, 4), cotangents.expand(n, 1, positions, 2)
    else:
        a, g = vector(n * positions * 4, 1).view(n, positions, 4), vector(n * positions * 2, 2).view(n, 1, positions, 2)
    piece = OuterColumns(DenseInputs(a), DenseCotangents(g), torch.arange(8).view(2, 4), "layer")
    part = SketchedFactor.of(piece, torch.ones(n, 1, dtype=F64))
    rows = torch.einsum("npo,npd->nod", g[:, 0], a)
    assert part.trace == pytest.approx(float(rows.square().sum()) / n, rel=0.35)
    apart = float(g.square().sum() * a.square().sum()) / (n * n * positions)
    assert part.trace == pytest.approx(apart * (positions if alike else 1.0), rel=0.35)


def test_a_layer_whose_cotangents_are_zero_has_the_scale_zero() -> None:
    piece = OuterColumns(
        DenseInputs(torch.ones(5, 3, 4)), DenseCotangents(torch.zeros(5, 1, 3, 2)), torch.arange(8).view(2, 4), "layer"
    )
    assert SketchedFactor.of(piece, torch.ones(5, 1)).trace == 0.0


def test_a_diagonal_moment() -> None:
    values = vector(12).square()
    moment = Moment(None, None, values, float(values.sum()), 12)
    x, y = random_sides(12)
    assert_close(moment.inverse(0.1, left=True)(x), x / (values + 0.1)[:, None], 1e-12)
    assert_close(moment.inverse(0.1, left=False)(y), y / (values + 0.1), 1e-12)


def test_a_moment_that_rounding_leaves_indefinite_has_a_factor_all_the_same() -> None:
    """Of order 800 and rank one in float32 rounding exceeds the least damping; more of it is taken."""
    values = torch.zeros(800)
    values[0], values[1:3] = 1.0, -3e-5
    matrix = with_spectrum(values.double()).float()
    matrix = 0.5 * (matrix + matrix.T)
    inverse = Moment(matrix, None, None, 1.0, 800).inverse(1e-12, left=True)(torch.eye(800))
    assert bool(inverse.isfinite().all())
    assert float(torch.linalg.eigvalsh(0.5 * (inverse + inverse.T).double())[0]) > 0.0


def test_a_moment_that_is_not_finite_ends() -> None:
    moment = Moment(torch.full((6, 6), torch.nan), None, None, 1.0, 6)
    assert not bool(moment.inverse(0.1, left=True)(torch.eye(6)).isfinite().any())


# --- factors of layers ------------------------------------------------------------------------------------------------


def linear(q: int = 1, n: int = 15, d: int = 4) -> BlockJacobian:
    """A layer whose outputs are the model's: cotangents are units, independent of the inputs."""
    return gd.SampleMap(nn.Linear(d, q).double(), vector(n * d).view(n, d)).linearise()[1]


def kron(part: SketchedFactor) -> Tensor:
    """S ⊗ A, for the entries of θ in the order of `index`."""
    assert part.left is not None
    return torch.kron(dense_moment(part.left), dense_moment(part.right))


def dense_moment(moment: Moment) -> Tensor:
    if moment.diagonal is not None:
        return moment.diagonal.diag()
    if moment.rows is not None:
        return moment.rows.T @ moment.rows
    assert moment.square is not None
    return moment.square


def test_of_one_layer_and_one_output_the_factor_is_the_normal_matrix() -> None:
    jacobian = linear()
    (piece,) = jacobian.columns
    for signs in (torch.ones(15, 1, dtype=F64), vector(15).sign()[:, None]):
        part = SketchedFactor.of(piece, signs)
        index = part.index.reshape(-1)
        assert_close(15 * kron(part), jacobian.normal()[index[:, None], index], 1e-12)
        factors = SketchedFactors((part,), 15)
        assert factors.trace == pytest.approx(float(jacobian.row_squares().sum()))


def test_the_trace_is_that_of_d_in_the_mean_over_cotangents() -> None:
    """‖D‖_F², where cotangents do not depend on inputs; the error of the mean falls with the root of their number."""
    jacobian = linear(q=3)
    (piece,) = jacobian.columns
    exact = float(jacobian.row_squares().sum())
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randn(15, 3, generator=generator, dtype=F64) for _ in range(2000)]
    traces = torch.tensor([15 * SketchedFactor.of(piece, signs).trace for signs in draws]) / exact
    assert float(traces.mean()) == pytest.approx(1.0, abs=4.0 * float(traces.std()) / 2000**0.5)
    assert float(traces.std()) == pytest.approx((2.0 / 45.0) ** 0.5, rel=0.1)  # of a mean of 45 squares of normals


@MODELS
def test_the_trace_estimates_that_of_a_model(make: Make, inputs: Drawn) -> None:
    """Within a factor of two: positions, and inputs with their cotangents, count as uncorrelated."""
    problem = problem_of(make, inputs, 60)
    jacobian = problem.linearise(problem.theta)[1].made()
    exact = float(jacobian.row_squares().sum())
    assert 0.4 < SketchedFactors.of(jacobian).trace / exact < 2.5


@MODELS
def test_the_damped_inverse_is_symmetric_and_definite(make: Make, inputs: Drawn) -> None:
    for made in (True, False):
        problem = problem_of(make, inputs)
        jacobian = problem.linearise(problem.theta)[1]
        solve = SketchedFactors.of(jacobian.made() if made else jacobian).damped(0.1)
        inverse = torch.stack([solve(e) for e in torch.eye(jacobian.n_params, dtype=F64)], 1)
        assert_close(inverse, inverse.T.clone(), 1e-10)
        values = torch.linalg.eigvalsh(0.5 * (inverse + inverse.T))
        assert float(values[0]) > 0.0 and float(values[-1]) <= 10.0 * (1.0 + 1e-9)


def test_the_damped_inverse_of_a_layer_is_that_of_its_damped_moments() -> None:
    """`(S + √μ'/π)⁻¹ ⊗ (A + √μ' π)⁻¹/N`, μ' = μ/N and π² = mean A/mean S."""
    jacobian = linear(q=3)
    factors, damping = SketchedFactors.of(jacobian), 0.7
    (part,) = factors.parts
    s, a = dense_moment(part.left), dense_moment(part.right)
    pi = float((a.trace() / len(a) / (s.trace() / len(s))).sqrt())
    root = (damping / 15) ** 0.5
    left = torch.linalg.inv(s + root / pi * torch.eye(len(s), dtype=F64))
    right = torch.linalg.inv(a + root * pi * torch.eye(len(a), dtype=F64))
    v = vector(jacobian.n_params)
    expected = torch.zeros_like(v)
    expected[part.index.reshape(-1)] = (left @ v[part.index] @ right).reshape(-1) / 15
    assert_close(factors.damped(damping)(v), expected, 1e-10)


def test_parameters_that_nothing_reads_keep_the_damping_alone() -> None:
    model = Gained()
    model.spare = nn.Parameter(torch.ones(3))
    problem = problem_of(lambda: model, lambda n: torch.randn(n, 5))
    jacobian = problem.linearise(problem.theta)[1].made()
    used = torch.zeros(jacobian.n_params, dtype=torch.bool)
    used[torch.cat([piece.index.reshape(-1) for piece in jacobian.columns])] = True
    assert int((~used).sum()) == 3
    v = vector(jacobian.n_params)
    assert_close(SketchedFactors.of(jacobian).damped(0.2)(v)[~used], v[~used] / 0.2, 1e-12)


def test_columns_that_are_no_layer_keep_their_diagonal() -> None:
    values = vector(5 * 2 * 4).view(5, 2, 4)
    piece = DenseColumns(values, torch.tensor([3, 0, 2, 1]), "rows")
    part = SketchedFactor.of(piece, torch.randn(5, 2, dtype=F64))
    diagonal = values.flatten(0, 1).square().sum(0)
    assert part.left is None
    assert_close(5 * part.right.diagonal, diagonal, 1e-12)
    assert part.trace == pytest.approx(float(diagonal.sum()) / 5)
    factors, v = SketchedFactors((part,), 5), vector(4)
    expected = torch.empty(4, dtype=F64)
    expected[piece.index] = v[piece.index] / (diagonal + 0.3)
    assert_close(factors.damped(0.3)(v), expected, 1e-12)


def test_columns_in_units_of_their_own_keep_their_diagonal() -> None:
    jacobian = linear(q=3)
    scaled = jacobian.scaled(columns=vector(jacobian.n_params, 1).square() + 0.1)
    (part,) = SketchedFactors.of(scaled).parts
    assert part.left is None
    assert_close(15 * part.right.diagonal, scaled.normal().diagonal()[part.index.reshape(-1)], 1e-12)
    solve, v = SketchedFactors.of(scaled).damped(0.3), vector(scaled.n_params)
    assert_close(solve(v), v / (scaled.normal().diagonal() + 0.3), 1e-12)


def test_the_inputs_of_an_embedding_are_the_frequencies_of_its_words() -> None:
    problem = problem_of(Words, lambda n: torch.randint(0, 7, (n, 3)))
    jacobian = problem.linearise(problem.theta)[1].made()
    (piece,) = [c for c in jacobian.columns if isinstance(c, OuterColumns) and isinstance(c.inputs, IndexInputs)]
    signs = torch.ones(20, 2, dtype=F64)
    part, dense = SketchedFactor.of(piece, signs), piece.inputs.dense().flatten(0, 1)
    assert_close(part.right.diagonal, (dense.T @ dense).diagonal() / len(dense), 1e-12)
    assert part.right.trace == 1.0
    collected = piece.cotangents.collect(signs).flatten(0, 1)
    assert_close(dense_moment(part.left), collected.T @ collected / 20, 1e-12)


def test_columns_that_have_products_alone_have_one_square() -> None:
    """`‖Dᵀu‖²` of a normal u is ‖D‖_F² in the mean."""
    matrix = vector(3 * 40).view(3, 40)
    jacobian = gd.MatrixJacobian((lambda v: matrix @ v, lambda u: matrix.T @ u), shape=(3, 40))
    (piece,) = jacobian.columns
    assert isinstance(piece, ProductColumns)
    u = vector(3, 8)[:, None]
    part = SketchedFactor._of_products(piece, u)
    expected = float((matrix.T @ u).square().sum())
    assert part.left is None and 3 * part.trace == pytest.approx(expected)
    assert_close(3 * part.right.diagonal, torch.full((40,), expected / 40, dtype=F64), 1e-12)
    traces = [3 * SketchedFactor._of_products(piece, vector(3, seed)[:, None]).trace for seed in range(1000)]
    assert sum(traces) / 1000 == pytest.approx(float(matrix.square().sum()), rel=0.1)


def test_the_same_samples_have_the_same_factors() -> None:
    problem = problem_of(mlp, lambda n: torch.randn(n, 5))
    jacobian = problem.linearise(problem.theta)[1]
    first, second = (SketchedFactors.of(jacobian).damped(0.1)(vector(jacobian.n_params)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_recorded_call_is_looked_at_by_one_pass_and_stays_recorded() -> None:
    for make, shape in ((conv, (20, 1, 5, 5)), (Remembering, (20, 4, 3))):
        problem = problem_of(make, lambda n, s=shape: torch.randn(s))
        jacobian = problem.linearise(problem.theta)[1]
        factors = SketchedFactors.of(jacobian)
        assert not jacobian.blocks[0].is_made
        assert factors.n_samples == 20
        sums = jacobian.sketched(0).made()
        ones = torch.ones(20, 1, dtype=F64)
        expected = SketchedFactors(tuple(SketchedFactor.of(piece, ones) for piece in sums.columns), 20)
        v = vector(jacobian.n_params)
        assert_close(factors.damped(0.1)(v), expected.damped(0.1)(v), 1e-12)


# --- the lift ---------------------------------------------------------------------------------------------------------


@MODELS
@pytest.mark.parametrize("weighted", [False, True])
def test_the_lift_is_the_damped_one_where_it_goes_on(make: Make, inputs: Drawn, weighted: bool) -> None:
    """Where a step costs much, a solve ends at the exact one; the misfit is Dv − velocity."""
    problem = problem_of(make, inputs, weighted=weighted)
    residual, jacobian = problem.linearise(problem.theta)
    dense = problem.linearise(problem.theta)[1].dense()
    prepared = SketchedLift(price=LONG).prepare(jacobian)
    damping = 1e-2 * float(dense.square().sum()) / len(dense)
    lifted = prepared.damped(damping).lift(-residual)
    assert_close(lifted.velocity, oracle(dense, -residual, damping), 1e-5)
    assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-9)
    assert not lifted.converged and lifted.rank is None and lifted.iterations > 0


@MODELS
def test_a_short_solve_gains_most_of_it_and_says_what_is_left(make: Make, inputs: Drawn) -> None:
    problem = problem_of(make, inputs)
    residual, jacobian = problem.linearise(problem.theta)
    dense = problem.linearise(problem.theta)[1].dense()
    damping = 1e-2 * float(dense.square().sum()) / len(dense)
    short, long = (SketchedLift(price=p).prepare(jacobian).damped(damping).lift(-residual) for p in (1.0, LONG))
    assert short.iterations < long.iterations
    assert_close(short.misfit, dense @ short.velocity + residual, 1e-9)
    fall = [
        float((residual @ residual) / (x.misfit @ x.misfit + damping * x.velocity @ x.velocity)) for x in (short, long)
    ]
    assert torch.tensor(fall[0]).log() > 0.5 * torch.tensor(fall[1]).log() > 0.0


@MODELS
def test_products_in_float32_leave_vectors_in_float64(make: Make, inputs: Drawn) -> None:
    """Passes through a graph stay in the model's precision, so that nothing changes there."""
    problem = problem_of(make, inputs)
    residual, jacobian = problem.linearise(problem.theta)
    dense, by_passes = problem.linearise(problem.theta)[1].dense(), goes_by_passes(jacobian)
    damping = 1e-2 * float(dense.square().sum()) / len(dense)
    single, double = (
        SketchedLift(LONG, products=p).prepare(problem.linearise(problem.theta)[1]).lift(-residual, damping=damping)
        for p in (torch.float32, None)
    )
    assert single.velocity.dtype == single.misfit.dtype == F64
    assert torch.equal(single.velocity, double.velocity) == by_passes
    assert_close(single.velocity, oracle(dense, -residual, damping), 1e-5 if by_passes else 1e-3)
    assert_close(single.misfit, dense @ single.velocity + residual, 1e-9 if by_passes else 1e-5)


class Units(nn.Module):
    """A network whose outputs are in other units."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.inner, self.times = mlp(), times

    def forward(self, x: Tensor) -> Tensor:
        return self.times * self.inner(x)


@pytest.mark.parametrize("times", [1e-22, 1e22])
def test_products_in_float32_do_in_any_units(times: float) -> None:
    """The squares of such numbers are none of float32."""
    misfits = []
    for units in (1.0, times):
        torch.manual_seed(0)
        model, x, y = Units(units).double(), torch.randn(20, 5, dtype=F64), torch.randn(20, 2, dtype=F64)
        problem = gd.Problem.of(model, x, units * y)
        outputs, jacobian = problem.blocks[0].map.with_columns(problem.theta)
        prepared = SketchedLift(LONG, products=torch.float32).prepare(jacobian)
        damping = 1e-2 * units**2
        misfits.append(prepared.lift(-(outputs - units * y).reshape(-1), damping=damping).misfit / units)
    assert_close(misfits[1], misfits[0], 1e-3)


@MODELS
def test_in_float32_everything_is_in_float32(make: Make, inputs: Drawn) -> None:
    problem = problem_of(make, inputs, dtype=torch.float32)
    residual, jacobian = problem.linearise(problem.theta, dtype=torch.float32)
    lifted = SketchedLift().prepare(jacobian).lift(-residual, damping=0.1)
    assert lifted.velocity.dtype == lifted.misfit.dtype == torch.float32
    assert_close(lifted.misfit, jacobian.mv(lifted.velocity) + residual, 1e-4)
    assert float(lifted.misfit.norm()) < float(residual.norm())


@MODELS
@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_by_it_lower_the_cost(make: Make, inputs: Drawn, dtype: torch.dtype, weighted: bool) -> None:
    problem = problem_of(make, inputs, 40, dtype=dtype, weighted=weighted)
    method = gd.Method(lift=SketchedLift(), walk=EulerWalk(), control=GainRatio(least_damping=1e-7), solve_dtype=dtype)
    solution = gd.fit(problem, method=method, max_steps=6)
    costs = list(solution.history["cost"])
    assert len(costs) >= 4 and costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.7 * costs[0]
    assert solution.cost == pytest.approx(problem.cost(problem.theta), rel=1e-5)


def test_units_of_parameters_are_taken_along() -> None:
    """In a metric M the step is `M^{−½}B⁺_μ v`, on spanned layers and on others."""
    for make, d in ((mlp, 5), (wide, 50)):
        problem = problem_of(make, lambda n, d=d: torch.randn(n, d))
        residual, jacobian = problem.linearise(problem.theta)
        metric = vector(jacobian.n_params, 2).square() + 0.1
        dense = jacobian.dense()
        damping = 1e-2 * float((dense.square() / metric).sum()) / len(dense)
        lifted = SketchedLift(price=LONG).prepare(jacobian, metric=metric).lift(-residual, damping=damping)
        assert_close(lifted.velocity, oracle(dense, -residual, damping, metric=metric), 1e-5)
        assert_close(lifted.misfit, dense @ lifted.velocity + residual, 1e-9)


def test_equal_samples_promise_nothing_that_is_not_kept() -> None:
    """Two targets for one input, in float32: the misfit is that of the step, though AAᵀ is singular."""
    torch.manual_seed(0)
    x = torch.randn(20, 50)
    x[10:] = x[:10]
    problem = gd.Problem.of(wide(), x, torch.randn(20, 2))
    residual, jacobian = problem.linearise(problem.theta, dtype=torch.float32)
    prepared = SketchedLift(price=LONG).prepare(jacobian)
    lifted = prepared.lift(-residual, damping=1e-7 * prepared.mean_square)
    assert_close(lifted.misfit, jacobian.mv(lifted.velocity) + residual, 1e-3)


def test_a_solve_ends_at_the_fall_that_suffices_and_at_the_bound() -> None:
    problem = problem_of(mlp, lambda n: torch.randn(n, 5), 60)
    residual, jacobian = problem.linearise(problem.theta)
    damped = SketchedLift(price=LONG).prepare(jacobian).damped(1e-3)
    whole = damped.lift(-residual)
    part = damped.lift(-residual, SolveGoal(fall=0.1))
    assert part.iterations < whole.iterations
    bounded = SketchedLift(price=LONG, max_iterations=2).prepare(jacobian).damped(1e-3).lift(-residual)
    assert bounded.iterations == 2


def test_it_says_that_it_is_not_exact_and_how_large_its_rows_are() -> None:
    problem = problem_of(wide, lambda n: torch.randn(n, 50), 30)
    here = Linearised.at(problem, problem.theta, lift=SketchedLift(), dtype=F64)
    assert not here.prepared.exact and not SketchedLift().exact and SketchedLift().name == "sketched"
    exact = float(here.jacobian.row_squares().mean())
    assert here.prepared.mean_square == pytest.approx(exact, rel=0.5)
    assert here.prepared.least_damping == pytest.approx(1e-12 * here.prepared.mean_square)


@pytest.mark.parametrize(("setting", "said"), [({"price": 0.0}, "price"), ({"max_iterations": 0}, "max_iterations")])
def test_its_settings(setting: dict, said: str) -> None:
    with pytest.raises(gd.InputError, match=said):
        SketchedLift(**setting)


def test_a_part_of_the_samples_is_solved_as_a_problem_of_its_own() -> None:
    problem = problem_of(mlp, lambda n: torch.randn(n, 5), 30, weighted=True)
    part = chosen_samples(problem, torch.arange(0, 30, 2))
    residual, jacobian = part.linearise(problem.theta)
    lifted = SketchedLift(price=LONG).prepare(jacobian).lift(-residual, damping=0.1)
    assert_close(lifted.velocity, oracle(jacobian.dense(), -residual, 0.1), 1e-5)
