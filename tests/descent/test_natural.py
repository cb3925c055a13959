"""Natural control: what it takes, refuses and makes of the damping, on networks and on a map of prescribed errors."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from support.diabetes import cost_of
from support.small_nets import F64, at, linearised, noisy, smooth, wide
from torch import Tensor

import geodescent as gd
from geodescent.descent import (
    CostLevels,
    Damping,
    Linearised,
    NaturalState,
    Observer,
    Trial,
    Walk,
    linear_residual,
    planned_stages,
    start,
)
from geodescent.lift import Damped, Prepared

GEODESIC = gd.GeodesicWalk()


def step(
    here: Linearised,
    damping: float,
    *,
    control: gd.NaturalControl,
    walk: Walk = GEODESIC,
    levels: CostLevels | None = None,
) -> Trial | None:
    """The step of this control at this damping, absolute."""
    state = NaturalState(Damping(damping, here.total_square))
    taken = control.step(here, walk, state, levels or CostLevels(here.cost, 100.0 * here.cost))
    return None if taken is None else taken[0]


# --- on networks ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_natural_control_reaches_digits_where_the_gain_ratio_creeps() -> None:
    """After 80 steps, mean of three starts in digits: one path alone depends on how its first products round."""
    digits = []
    for control, seed in itertools.product((gd.NaturalControl(), gd.GainRatio()), range(3)):
        model, x, y = smooth(100, width=24, seed=seed)
        digits.append(math.log10(gd.fit(model, x, y, method=gd.Method(control=control), max_steps=80).cost))
    assert sum(digits[:3]) / 3 < sum(digits[3:]) / 3 - 2.0


def test_the_path_may_rise_and_the_best_point_is_kept() -> None:
    model, x, y = smooth(100, width=24)
    solution = gd.fit(model, x, y, max_steps=60)
    costs = solution.history["cost"]
    assert (costs[1:] > costs[:-1]).any()
    assert solution.cost == costs.min()
    assert cost_of(model, x, y) == pytest.approx(solution.cost, rel=1e-6)


def test_a_step_taken_passes_the_natural_test() -> None:
    here = at(*smooth(100, width=24))
    trial = step(here, 1e-3 * here.total_square, control=gd.NaturalControl(corrections=0))
    assert trial is not None
    lifted = here.prepared.lift(-here.residual, damping=trial.damping)
    asked = here.prepared.lift(lifted.misfit - here.residual_at(trial.theta), damping=trial.damping).velocity
    assert float(asked.norm()) <= 0.5 * float(lifted.velocity.norm())


def test_chord_corrections_bring_the_residual_to_the_linear_model() -> None:
    """A straight step leaves r_lin by a little, and the same factor leads back."""
    here = at(*wide())
    damping, off = 1e-6 * here.total_square, []
    for corrections in (0, 10):
        trial = step(here, damping, control=gd.NaturalControl(corrections=corrections), walk=gd.EulerWalk(0.02))
        assert trial is not None and trial.damping == pytest.approx(0.1 * damping)
        lifted = here.prepared.lift(-here.residual, damping=trial.damping)
        off.append(float((here.residual_at(trial.theta) - linear_residual(here, lifted, 0.02)).norm()))
    assert here.tally["corrections"] > 0
    assert off[1] < 0.05 * off[0]


def test_every_damping_takes_one_factor() -> None:
    """Where C is high the noise test and the first trial share theirs."""
    here = at(*smooth())
    assert step(here, 1e-3 * here.total_square, control=gd.NaturalControl()) is not None
    assert here.tally["factors"] == here.tally["rejections"] + 1


@pytest.mark.slow
def test_noisy_data_with_few_parameters_end_below_the_classical_control() -> None:
    costs = {}
    for control in (gd.NaturalControl(), gd.GainRatio()):
        costs[type(control)] = gd.fit(*noisy(), method=gd.Method(control=control), max_steps=200).cost
    assert costs[gd.NaturalControl] < 1.02 * costs[gd.GainRatio]


def test_a_start_at_the_solution_ends_at_once() -> None:
    model, x, y = smooth(40, width=24)
    gd.fit(model, x, y)
    again = gd.fit(model, x, y)
    assert again.cost <= 1e-26
    assert again.steps <= 3


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_path_does_not_depend_on_the_units_of_y(scale: float) -> None:
    """With the last layer and y in other units the costs are those, times the square."""
    histories = []
    for factor in (1.0, scale):
        model, x, y = smooth(40, width=12)
        with torch.no_grad():
            model[2].weight.mul_(factor)
            model[2].bias.mul_(factor)
        histories.append(gd.fit(model, x, factor * y, max_steps=2).cost0)
    assert histories[1] == pytest.approx(histories[0] * scale**2, rel=1e-9)


# --- on a map of prescribed errors ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prescribed:
    """`x = θ₀ + D(θ − θ₀)`, D = diag(1, stiff), which away from θ₀ bends, and is off in the stiff output.

    Attributes:
        stiff: how much more the second output feels of θ.
        off: error of the second output away from θ₀, which no derivative tells.
        bend: ‖a‖ that the second derivative asks for; the outputs themselves do bend so.
    """

    stiff: float
    off: float
    bend: float
    theta = torch.zeros(2, dtype=F64)
    shape = (2,)
    dtype = F64
    device = torch.device("cpu")

    @property
    def matrix(self) -> Tensor:
        return torch.diag(torch.tensor([1.0, self.stiff], dtype=F64))

    def __call__(self, theta: Tensor) -> Tensor:
        error = torch.tensor([self.bend, self.off], dtype=F64)
        return self.matrix @ theta + (error if bool(theta.any()) else 0.0)

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.MatrixJacobian]:
        return self(theta), gd.MatrixJacobian(self.matrix)

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return torch.tensor([2.0 * self.bend, 0.0], dtype=F64)

    def write(self, theta: Tensor) -> None:
        raise AssertionError("nobody writes here")


def prescribed(stiff: float, off: float, bend: float) -> Linearised:
    """From θ₀ = 0 to y = (1, 0): v = (1, 0), C = 1/4; after a whole step C = off²/4, the correction off/stiff."""
    return linearised(gd.Problem.over(Prescribed(stiff, off, bend), torch.tensor([1.0, 0.0], dtype=F64)))


PLAIN = gd.NaturalControl(corrections=0, share=0.0)


@pytest.mark.parametrize(
    ("stiff", "off", "bend", "taken"),
    [
        (100.0, 5.0, 0.1, True),  # 25 times the cost
        (100.0, 6.0, 0.1, False),  # 36 times
        (10.0, 2.0, 0.11, True),  # a correction of 0.2, below twice the bend
        (10.0, 2.0, 0.09, False),  # above it: noise
        (100.0, 2.9, 0.001, True),  # of 0.029, too short to be called noise
        (100.0, 3.1, 0.001, False),
        (2.4, 0.48, 0.01, True),  # noise of 0.2, but the cost falls to 0.23
        (2.6, 0.52, 0.01, False),  # to 0.27
        (2.0, 0.98, 0.4, True),  # 0.49 of v
        (2.0, 1.02, 0.4, False),
        (100.0, 0.1, 0.99, True),  # a path that turns almost as far as it goes
        (100.0, 0.1, 1.01, False),
    ],
)
def test_what_is_taken_at_the_first_damping(stiff: float, off: float, bend: float, taken: bool) -> None:
    here = prescribed(stiff, off, bend)
    trial = step(here, 1e-8, control=PLAIN)
    assert (trial is not None and here.tally["rejections"] == 0) is taken


@pytest.mark.parametrize(
    ("off", "reference", "taken"),
    [
        (6.0, 350.0, False),  # 36 times the cost: above a tenth of the reference
        (6.0, 370.0, True),
        (5.0, 1.0, True),  # 25 times the cost
    ],
)
def test_how_high_a_cost_may_rise(off: float, reference: float, taken: bool) -> None:
    here = prescribed(100.0, off, 0.1)
    step(here, 1e-8, control=PLAIN, levels=CostLevels(here.cost, reference * here.cost))
    assert (here.tally["rejections"] == 0) is taken


@pytest.mark.parametrize(("off", "factor"), [(20.0, 1.0), (10.0, 1.0), (5.0, 0.5), (2.0, 0.2), (0.01, 0.01)])
def test_a_short_correction_lowers_the_next_damping(off: float, factor: float) -> None:
    """A correction of `off/100`: below 0.1 of v the damping falls with it, to a hundredth at most."""
    here = prescribed(100.0, off, 0.3)
    trial = step(here, 1e-8, control=PLAIN, levels=CostLevels(here.cost, 1e5 * here.cost))
    assert trial is not None and here.tally["rejections"] == 0
    assert trial.next_damping / trial.damping == pytest.approx(factor, rel=1e-3)


def test_dampings_are_tried_from_small_to_large() -> None:
    """Half a decade at a time over three decades, then on from there."""
    here, tried = prescribed(1.0, 60.0, 0.1), []
    watched = replace(here, prepared=Noting(here.prepared, tried))
    assert (
        step(watched, 1e-9, control=replace(PLAIN, attempts=2), levels=CostLevels(here.cost, 1e5 * here.cost)) is None
    )
    assert tried == pytest.approx([1e-10 * 10.0 ** (k / 2.0) for k in range(14)])


@pytest.mark.parametrize("best", [1.0, 0.5])
def test_away_from_the_best_point_a_step_aims_no_lower_than_a_share_of_the_cost(best: float) -> None:
    """The linear model leaves (μ/(1 + μ))² of C; the next damping lies between that of the step and the one before."""
    here, tried = prescribed(10.0, 0.01, 0.3), []
    watched = replace(here, prepared=Noting(here.prepared, tried))
    trial = step(watched, 1e-9, control=PLAIN, levels=CostLevels(best * here.cost, 10.0 * here.cost))
    assert trial is not None and here.tally["rejections"] == 0
    if best == 1.0:
        assert tried == pytest.approx([1e-10]) and trial.damping == tried[0]
    else:
        assert trial.damping == tried[-1] == pytest.approx(1e-3, rel=0.01)
        assert trial.predicted == pytest.approx(1e-6 * here.cost, rel=0.01)
        assert 1e-9 < trial.next_damping < 1e-5


def test_after_six_rounds_a_step_is_given_up() -> None:
    """Seven dampings a round, fewer rounds only where the damping gets too large."""
    here = prescribed(1.0, 60.0, 0.1)
    for first, rounds in ((1e-20, 6), (1e-3, 2)):
        rejections = here.tally["rejections"]
        assert step(here, first, control=PLAIN, levels=CostLevels(here.cost, 1e5 * here.cost)) is None
        assert here.tally["rejections"] - rejections == 7 * rounds


@pytest.mark.parametrize(("best", "least"), [(1.0, 0.1), (2e-13, 0.1), (0.5e-13, 0.0)])
def test_above_the_patience_the_damping_has_a_floor(best: float, least: float) -> None:
    """`share·C/C_ref·‖B‖_F²`, until the best cost lies below 1e-13 of the reference."""
    here, tried = prescribed(1.0, 0.0, 0.0), []
    watched = replace(here, prepared=Noting(here.prepared, tried))
    step(watched, 1e-9, control=gd.NaturalControl(share=0.1), levels=CostLevels(best * here.cost, here.cost))
    assert tried[0] == pytest.approx(max(1e-10, least * here.total_square))


@dataclass
class Noting:
    """A prepared lift that notes the dampings it is factorised for."""

    inner: Prepared
    dampings: list[float]

    def damped(self, damping: float) -> Damped:
        self.dampings.append(damping)
        return self.inner.damped(damping)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_formulas_do_not_step_above_the_scale_of_their_costs() -> None:
    """Beyond what constants give lie plateaus, as that of a size of zero; a network may cross higher passes."""
    assert CostLevels(1.0, 5.0).highest == 30.0
    assert CostLevels(1.0, 5.0, ceiling=5.0).highest == 5.0
    assert CostLevels(1.0, 50.0, ceiling=0.5).highest == 5.0
    curve = gd.FunctionMap(lambda b: torch.exp(-b[0] * torch.arange(4.0).double()), torch.ones(1, dtype=F64))
    formula = gd.Problem.over(curve, torch.arange(4.0).double())
    network = gd.Problem.of(torch.nn.Linear(2, 1).double(), torch.eye(2, dtype=F64), torch.ones(2, dtype=F64))
    for problem, finite in ((formula, True), (network, False)):
        levels = start(planned_stages(problem), Observer()).levels
        assert (levels.ceiling == levels.reference) is finite
