"""Outputs, costs, derivatives and second derivatives that are NaN or infinite: told, and no exception."""

import math

import numpy as np
import pytest
import torch
from support.causes import normal
from support.certified import function
from support.given import Given, sines
from torch import Tensor, nn

import geodescent as gd
from geodescent import Problem, RowBlock
from geodescent._budget import Budget, spending
from geodescent.certificate import certificate_of
from geodescent.flow import AdaptedField, lifted_velocity
from geodescent.flow._stepper import OutputStepper, Tolerance

NAN, INF = math.nan, math.inf


def filled(number: float) -> Given:
    """Six outputs that are all one number, with a D that is finite."""
    eye = torch.eye(6, 9, dtype=torch.float64)
    outputs = torch.full((6,), number, dtype=torch.float64)
    return Given(lambda t: outputs, lambda t: gd.MatrixJacobian(eye), torch.zeros(9, dtype=torch.float64), 6)


@pytest.mark.parametrize("number", [NAN, INF, -INF, 1e300])
def test_a_cost_that_is_not_finite_is_no_zero_cost_and_no_critical_point(number: float) -> None:
    """At 1e300 the outputs are finite, and their squares are not."""
    problem = Problem.over(filled(number), torch.zeros(6).double())
    for c in (gd.certify(problem), certificate_of(problem, target_cost=1.0, describe_point=True)):
        assert (c.level, c.rank, c.floor, c.stopping_time) == ("not computed", None, None, None)
        assert c.point.kind == "unknown" and "not known: the cost is not finite" in c.point.sentence
        assert "the cost is not finite" in c.reason and "rounding unknown" in str(c)
        assert c.as_dict()["rounding_floor"] is None
    with pytest.raises(gd.InputError, match="the cost at the start is"):
        gd.fit(problem)


@pytest.mark.parametrize("number", [NAN, INF])
def test_a_penalty_that_is_not_finite_hides_the_point_of_the_data(number: float) -> None:
    data = sines(torch.eye(2, 9, dtype=torch.float64))
    penalty = filled(number)
    blocks = (RowBlock("data", data, torch.zeros(2).double()), RowBlock("penalty", penalty, torch.zeros(6).double()))
    assert gd.certify(Problem(blocks)).point.kind == "unknown"


@pytest.mark.parametrize("limits", [Budget(), Budget(spectrum_numbers=0), Budget(spectrum_numbers=0, spectrum_order=0)])
@pytest.mark.parametrize("number", [NAN, INF])
def test_a_d_that_is_not_finite_is_told_at_every_level(number: float, limits: Budget) -> None:
    D = torch.eye(6, 9, dtype=torch.float64)
    D[2, 3] = number
    given = Given(lambda t: torch.ones(6).double(), lambda t: gd.MatrixJacobian(D), torch.zeros(9).double(), 6)
    with spending(limits):
        c = gd.certify(Problem.over(given, torch.zeros(6).double()))
    assert (c.level, c.point.kind) == ("not computed", "unknown") and "D holds NaN or infinite" in c.reason


def kink(t: Tensor) -> Tensor:
    """`1 + |t|^1.5`: critical at 0 with an infinite second derivative."""
    return 1.0 + t.abs().pow(1.5).sum() + 0.0 * t[0]


@pytest.mark.parametrize("order", [0, 1500])
def test_a_critical_point_without_second_derivatives_is_told(order: int) -> None:
    with spending(Budget(hessian_order=order)):
        point = certificate_of(function(kink, (0.0, 0.0), (0.0,)), describe_point=True).point
    assert (point.kind, point.saddle) == ("critical", None)
    assert "second derivatives are not finite" in point.sentence


@pytest.mark.parametrize("number", [NAN, INF])
def test_a_flow_refuses_a_start_without_a_direction(number: float) -> None:
    D = torch.eye(6, 9, dtype=torch.float64)
    D[2, 3] = number
    given = Given(lambda t: torch.ones(6).double(), lambda t: gd.MatrixJacobian(D), torch.zeros(9).double(), 6)
    with pytest.raises(gd.InputError, match=r"derivative of the outputs at the start .* start at other parameters"):
        gd.flow(Problem.over(given, torch.zeros(6).double()), until=0.1)


def test_a_velocity_where_nothing_is_defined_asks_for_a_shorter_step() -> None:
    """`√θ` at θ = −1: NaN as a velocity, and infinite as the error of a step."""
    root = Given(lambda t: t.sqrt(), lambda t: gd.MatrixJacobian((0.5 / t.sqrt())[:, None]), torch.ones(1).double(), 1)
    problem = Problem.over(root, torch.tensor([2.0], dtype=torch.float64))
    velocity = lifted_velocity(problem, AdaptedField(), gd.GramLift(), problem.residual(problem.theta))
    assert velocity(0.0, problem.theta) == pytest.approx(2.0)
    assert torch.isnan(velocity(0.0, -problem.theta)).all()
    tolerance = Tolerance.at(problem, problem.theta, None, tol=1e-9)

    def undefined(time: float, theta: np.ndarray) -> np.ndarray:
        return np.where(theta > 0.5, -np.ones(1), np.nan)

    stepper = OutputStepper(undefined, 0.0, np.ones(1), 1.0, tolerance=tolerance, first_step=1.0)
    stepper.step()
    assert stepper.status == "running" and 0.5 <= stepper.y[0] < 1.0


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


def test_a_model_with_nan_outputs_is_no_start() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 2), Logarithm()).double()
    with pytest.raises(gd.InputError, match=r"the cost at the start is nan: \d+ of 18 outputs are NaN or infinite"):
        gd.fit(model, normal(9, 3), normal(9, 2))
    assert "the cost is not finite" in " ".join(str(gd.certify(model, normal(9, 3), normal(9, 2))).split())
