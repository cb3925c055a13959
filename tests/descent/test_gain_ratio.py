"""The rule by which the gain ratio sets the next damping, and what it takes."""

import pytest
import torch
from support.small_nets import F64, at, linearised, smooth

import geodescent as gd
from geodescent import GainRatio
from geodescent.descent import CostLevels, Damping, GainRatioState, Linearised, Trial


@pytest.mark.parametrize(
    ("ratio", "factor"), [(2.0, 0.1), (1.0, 0.1), (0.75, 0.875), (0.5, 1.0), (0.25, 1.125), (0.0, 2.0)]
)
def test_the_damping_follows_nielsens_rule(ratio: float, factor: float) -> None:
    """`max(1/10, 1 − (2ρ − 1)³)`."""
    here = at(*smooth())
    assert GainRatio().after(here, ratio, 0.3) == pytest.approx(0.3 * factor, rel=1e-12)


def test_the_damping_stays_above_the_least() -> None:
    here = at(*smooth())
    control = GainRatio(least_damping=1e-3)
    assert control.after(here, 1.0, 0.0) == pytest.approx(1e-3 * here.prepared.mean_square, rel=1e-12)


@pytest.mark.parametrize(("cost", "ratio"), [(1.0, 1.0), (2.0, 0.5), (3.0, 0.0), (5.0, -1.0)])
def test_the_gain_is_the_fall_over_the_predicted_fall(cost: float, ratio: float) -> None:
    here = at(*smooth())
    trial = Trial(here.theta, cost, predicted=1.0, damping=1.0, next_damping=1.0)
    assert trial.gain_ratio(3.0) == pytest.approx(ratio)


def straight(*values: float, normal: float, along: float) -> Linearised:
    """x = Dθ, D diagonal over one more row of zeros; the residual is `normal` there and `along` in the row before."""
    d = torch.cat([torch.diag(torch.tensor(values, dtype=F64)), torch.zeros(1, len(values), dtype=F64)])
    y = torch.zeros(len(values) + 1, dtype=F64)
    y[-2], y[-1] = -along, -normal
    return linearised(gd.Problem.over(gd.FunctionMap(lambda theta: d @ theta, torch.zeros(len(values), dtype=F64)), y))


def tried(here: Linearised, damping: float) -> Trial | None:
    """The step of the gain ratio at this damping, if there is one."""
    state = GainRatioState(Damping(damping, here.total_square))
    taken = GainRatio().step(here, gd.EulerWalk(), state, CostLevels(here.cost, here.cost))
    return None if taken is None else taken[0]


def test_a_residual_outside_the_range_gives_no_step_and_no_other_damping() -> None:
    """A share of 3e-7 in the range is 1e-13 of C, which the least damping does not make more of."""
    here = straight(1.0, 1.0, normal=1.0, along=3e-7)
    assert tried(here, 1e-6) is None
    assert here.tally["rejections"] == 0


def test_a_fall_that_only_damping_makes_small_is_no_end() -> None:
    """At the largest damping a fall of 1e-13 of C is predicted, and all of it at the least."""
    here = straight(1.0, 0.2, normal=1.0, along=1.0)
    trial = tried(here, 0.99 * GainRatio().largest_damping * here.prepared.mean_square)
    assert trial is not None and 0.0 < here.cost - trial.predicted < 1e-12 * here.cost


@pytest.mark.parametrize(("bend", "taken"), [(0.37, True), (0.38, False)])
def test_a_path_that_bends_more_than_three_eighths_of_its_length_is_refused(bend: float, taken: bool) -> None:
    """x = θ + bend·θ² at 0, y = 1: v = 1 and a = −bend."""
    outputs = gd.FunctionMap(lambda theta: theta + bend * theta**2, torch.zeros(1, dtype=F64))
    here = linearised(gd.Problem.over(outputs, torch.ones(1, dtype=F64)))
    state = GainRatioState(Damping(1e-12, here.total_square))
    assert GainRatio().step(here, gd.GeodesicWalk(), state, CostLevels(here.cost, here.cost)) is not None
    assert (here.tally["rejections"] == 0) is taken


@pytest.mark.parametrize(("share", "trials"), [(0.9, 1), (1.1, 0)])
def test_a_step_is_given_up_at_the_largest_damping(share: float, trials: int) -> None:
    """1e12·‖B‖_F²/m: outputs that jump as soon as θ moves are refused at every damping, and tried up to there."""

    def jumping(theta: torch.Tensor) -> torch.Tensor:
        return theta + (theta.detach() != 0.0).to(theta)

    outputs = gd.FunctionMap(jumping, torch.zeros(2, dtype=F64))
    here = linearised(gd.Problem.over(outputs, -torch.ones(2, dtype=F64)))
    assert tried(here, share * 1e12 * here.prepared.mean_square) is None
    assert here.tally["rejections"] == trials
