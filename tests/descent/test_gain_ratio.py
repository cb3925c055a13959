"""The rule by which the gain ratio sets the next damping, and what it takes."""

import pytest
from support.small_nets import at, smooth

from geodescent import GainRatio
from geodescent.descent import Trial


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
