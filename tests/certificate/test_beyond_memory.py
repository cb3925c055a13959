"""Problems whose D is not formed: known by products alone, or streamed from a loader."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.causes import normal
from support.certified import tanh_net
from support.given import means
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.certificate import certificate_of, forecast_floor
from geodescent.flow import path_point
from geodescent.problem import rounding_floor

M, EACH = 20, 500
D_BYTES = 8 * M * M * EACH  # 1.6 MB
WITHOUT_D = Budget(free_bytes=D_BYTES, spectrum_numbers=0)  # of which 60 % may be used


def test_a_d_by_products_that_does_not_fit_into_memory_has_bounds() -> None:
    """DDᵀ is a multiple of the identity: both bounds are its square root."""
    problem = gd.Problem.over(means(M, EACH), torch.full((M,), 0.2).double())
    with spending(WITHOUT_D):
        c = gd.certify(problem, metric="flow")
    sigma = (1.0 - math.tanh(0.1) ** 2) / math.sqrt(EACH)
    assert (c.level, c.rank, c.guaranteed) == ("bounds", None, None)
    assert c.sigma_max == pytest.approx(sigma, rel=1e-10) and c.sigma_min == pytest.approx(sigma, rel=1e-10)
    assert "rows of D do not fit into memory" in c.reason and c.point.kind == "moving"


def test_its_rank_is_known_where_it_fits() -> None:
    problem = gd.Problem.over(means(M, EACH), torch.full((M,), 0.2).double())
    with spending(Budget(spectrum_numbers=0)):
        assert gd.certify(problem).rank == M


def test_rows_of_blocks_of_different_maps_that_do_not_fit_leave_bounds_too() -> None:
    """Two formulas share no pieces of columns: their rows are formed for DDᵀ, and D by products is in one of them."""
    first, second = means(M, EACH), means(M, EACH)
    target = torch.full((M,), 0.2).double()
    problem = gd.Problem((gd.RowBlock("a", first, target), gd.RowBlock("b", second, target)))
    with spending(WITHOUT_D):
        assert gd.certify(problem).level == "bounds"


@pytest.mark.slow
def test_the_flow_of_such_a_d_has_no_spectrum() -> None:
    with spending(replace(WITHOUT_D, rows_numbers=2**16)):  # so that the lift's preconditioner forms no rows either
        flow = gd.flow(gd.Problem.over(means(M, EACH), torch.full((M,), 0.2).double()), until=0.1, lift=gd.KrylovLift())
    assert flow.result is gd.Result.time_reached and flow.max_relative_deviation < 1e-8
    assert np.isnan(flow.rank).all() and np.isnan(flow.sigma_min).all() and np.isnan(flow.line_deviation_lost).all()
    assert flow.cost[-1] == pytest.approx(flow.cost[0] * math.exp(-0.2), rel=1e-8)


def streamed() -> tuple[gd.Problem, gd.Problem]:
    """Eight samples in batches of five and three, and the same as tensors."""
    X, y = normal(8, 3), normal(8, 1, seed=1)
    loader = DataLoader(TensorDataset(X, y), batch_size=5)
    return gd.StreamedSource.of(tanh_net(3, 12, 1), loader).whole, gd.Problem.of(tanh_net(3, 12, 1), X, y)


@pytest.mark.slow
@pytest.mark.parametrize("limits", [Budget(), Budget(spectrum_numbers=0)], ids=["D", "DᵀD"])
def test_a_streamed_problem_has_the_certificate_of_its_data(limits: Budget) -> None:
    whole, tensors = streamed()
    expected = gd.certify(tensors)
    with spending(limits):
        c = gd.certify(whole)
    assert (c.level, c.rank, c.point.kind) == ("spectrum", 8, "moving")
    assert c.sigma_min == pytest.approx(expected.sigma_min, rel=1e-6) and not c.sigma_min_is_bound
    assert c.sigma_max == pytest.approx(expected.sigma_max, rel=1e-10) and c.floor == 0.0
    assert c.margin == pytest.approx(expected.margin, rel=1e-3)
    assert c.rounding_floor == pytest.approx(rounding_floor(tensors, tensors.theta), rel=1e-6)


def test_a_streamed_problem_with_too_many_parameters_has_bounds() -> None:
    with spending(Budget(spectrum_numbers=0, spectrum_order=10)):
        c = gd.certify(streamed()[0])
    assert c.level == "bounds" and "order 61 is too large" in c.reason


@pytest.mark.slow
def test_the_flow_of_a_streamed_problem_is_that_of_its_data() -> None:
    whole, tensors = streamed()
    by_loader = gd.flow(whole, until=0.1, lift=gd.NormalLift())
    by_tensors = gd.flow(tensors, until=0.1)
    assert by_loader.rank.tolist() == [8.0] * len(by_loader.rank)
    assert by_loader.sigma_min[-1] == pytest.approx(by_tensors.sigma_min[-1], rel=1e-4)
    assert by_loader.cost[-1] == pytest.approx(by_tensors.cost[-1], rel=1e-8)


def test_along_a_flow_of_a_streamed_problem_with_too_many_parameters_there_is_no_spectrum() -> None:
    whole = streamed()[0]
    with spending(Budget(spectrum_order=10)):
        point, _ = path_point(whole, gd.NormalLift(), whole.theta, 0.0, whole.residual(whole.theta))
    assert math.isnan(point.rank) and math.isnan(point.sigma_min) and math.isnan(point.line_deviation_lost)
    assert point.line_deviation == 0.0 and point.cost == pytest.approx(whole.cost(whole.theta))


def test_without_a_dense_lift_the_forecast_is_the_floor_here() -> None:
    whole = streamed()[0]
    assert forecast_floor(whole, whole.theta) == rounding_floor(whole, whole.theta)


def test_a_streamed_normal_matrix_that_does_not_fit_is_refused() -> None:
    whole = streamed()[0]
    jacobian = whole.linearise(whole.theta)[1]
    with spending(Budget(free_bytes=8 * 61 * 61)), pytest.raises(gd.MemoryPlanError, match=r"normal matrix of 61 × 61"):
        jacobian.normal()
    with spending(Budget(free_bytes=8 * 61 * 61, spectrum_numbers=0)):
        assert certificate_of(whole).level in ("bounds", "not computed")
