"""What is left of measured terms: neighbours are correlated by the law that is said; masked rows do not count."""

import math

import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent import pde
from geodescent.problem import misfit_of, residual_table
from geodescent.problem._misfit import CORRELATED, correlation
from geodescent.problem._residual_table import times

F64 = torch.float64
LINE = pde.Box(x=(0.0, 1.0))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [20, 200])
def test_the_correlation_of_independent_errors_is_one_standard_deviation(d: int, n: int) -> None:
    """By simulation: counting mutual neighbours twice gives 1.25."""
    generator = torch.Generator().manual_seed(n + d)
    found = torch.cat(
        [
            correlation(
                torch.rand(n, d, generator=generator, dtype=F64), torch.randn(n, 400, generator=generator, dtype=F64)
            )
            for _ in range(20)
        ]
    )
    assert float(found.std()) == pytest.approx(1.0, abs=0.08) and abs(float(found.mean())) < 0.3
    assert float((found > CORRELATED).double().mean()) < 2e-3


def test_two_places_are_one_pair() -> None:
    """Places in pairs: the sum over pairs, by hand."""
    places = torch.tensor([[0.0], [0.1], [1.0], [1.1], [2.0], [2.1]], dtype=F64)
    off = torch.tensor([[1.0], [1.0], [-1.0], [-1.0], [1.0], [-1.0]], dtype=F64)
    assert float(correlation(places, off)) == pytest.approx((1.0 + 1.0 - 1.0) / math.sqrt(3.0))


def measured(values: Tensor, places: Tensor, **settings: object) -> pde.System:
    """u = 0 near enough, and measured values of it."""
    torch.manual_seed(0)
    terms = [
        pde.Term("zero", lambda u: u, LINE.inside(5)),
        pde.Term("sensors", lambda u: u, places, target=values, **settings),
    ]
    return pde.System(pde.mlp(1, [3], 1), terms, coordinates="x")


def at_zero(system: pde.System) -> Tensor:
    return torch.zeros_like(system.problem().theta)


@pytest.mark.parametrize(("kind", "n", "is_noise"), [("noise", 80, True), ("wave", 80, False), ("noise", 12, None)])
def test_what_looks_like_errors_of_measurement_is_told_apart(kind: str, n: int, is_noise: bool | None) -> None:
    places = torch.linspace(0.0, 1.0, n, dtype=F64)[:, None]
    generator = torch.Generator().manual_seed(2)
    values = torch.sin(6.0 * places[:, 0]) if kind == "wave" else torch.randn(n, generator=generator, dtype=F64)
    system = measured(values, places)
    found = misfit_of(system.problem(), at_zero(system))
    assert found is not None and found.is_noise is is_noise and not found.to_last_digit
    assert found.rms["sensors"] == pytest.approx(float(values.square().mean().sqrt()), rel=1e-12)
    assert found.share == pytest.approx(1.0, abs=1e-12) and found.as_dict()["share"] == found.share
    assert "nearly all of the cost" in found.sentence


def test_the_share_of_the_cost_is_that_of_the_measured_term() -> None:
    places = torch.linspace(0.0, 1.0, 30, dtype=F64)[:, None]
    system = measured(torch.ones(30, dtype=F64), places)
    problem = system.problem()
    theta = problem.theta
    rows = problem.residual(theta)
    found = misfit_of(problem, theta)
    assert found is not None and found.share == pytest.approx(float(rows[5:].square().sum() / rows.square().sum()))


def test_rows_of_weight_zero_are_in_no_number_of_the_table() -> None:
    places, values = torch.linspace(0.0, 1.0, 30, dtype=F64)[:, None], torch.full((30,), 2.0, dtype=F64)
    weights = torch.ones(30, dtype=F64)
    values[:10], weights[:10] = 1e6, 0.0
    system = measured(values, places, weights=weights)
    (_, row) = residual_table(system.problem(), at_zero(system))
    assert (row.n_rows, row.rms, row.largest) == (20, pytest.approx(2.0), pytest.approx(2.0))
    found = misfit_of(system.problem(), at_zero(system))
    assert found is not None and found.rms["sensors"] == pytest.approx(2.0)
    assert system.problem().block_rms(at_zero(system), math.nan)["sensors"] == pytest.approx(2.0)


def test_an_equation_with_points_that_do_not_count_is_not_compared_with_fresh_ones() -> None:
    """The fresh ones lie where the equation was not asked for, too."""
    torch.manual_seed(0)
    points = LINE.inside(10)
    weights = (torch.arange(10) < 5).double()
    term = pde.Term("slope", lambda u, x: u.x - 1.0, points, weights=weights)
    system = pde.System(pde.mlp(1, [3], 1), [term, pde.Term("start", lambda u: u, torch.zeros(1, 1))], coordinates="x")
    assert [row.fresh_rms for row in residual_table(system.problem(), system.problem().theta)] == [None, None]


def test_a_large_ratio_is_said_in_words() -> None:
    assert times(12.345) == "12.3 times" and times(3.95e14) == "more than a million times"
    row = gd.problem.BlockResidual("slope", 3, 1.0, 1e-15, 1e-15, 0.4, 0.5)
    (sentence,) = gd.problem.ResidualTable([row]).sentences
    assert "is more than a million times that on them" in sentence and "e+" not in sentence
