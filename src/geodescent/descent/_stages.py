"""The stages of a descent: which samples, which solves, which walk and control, and when the next stage takes over."""

from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from geodescent._deadline import FASTER_PRODUCTS, PIECE_SHARE, is_affordable
from geodescent._errors import InputError
from geodescent._settings import NOT_NEGATIVE, POSITIVE, SOLVES_IN, OneOf, Whole, settle
from geodescent.descent._control import STATIONARY, Control
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._natural import NaturalControl
from geodescent.descent._parts import require_part
from geodescent.descent._state import State
from geodescent.descent._stopping import PROGRESS, is_idle
from geodescent.descent._walk import EulerWalk, GeodesicWalk, Walk
from geodescent.lift import (
    DenseLift,
    Lift,
    PlannedLift,
    known_by_products,
)
from geodescent.linalg import SEEN, STEP_ITERATIONS
from geodescent.problem import Problem, Source

VALLEY = 1e-3  # Share of the reference cost: below it exact steps converge fast (docs/decisions.md).
VALLEY_OF_EQUATIONS = 0.1  # The same where the rows are equations.
LONG = 10.0  # Exact steps: the opening ends when the run has cost as much as this many.
STAGES = Whole(1, least=1)
"""By how many stages a rule advances a run."""
LIFT, WALK = "gd.GramLift()", "gd.EulerWalk()"
"""What error sentences give as examples."""
PART_PATIENCE = 24  # Steps on a part of the samples without progress on all: each costs at most a quarter of a step.


@runtime_checkable
class Leave(Protocol):
    """A rule for when a stage is left.

    Attributes:
        stages: by how many stages the run then advances.
        least_fall: share of C; a step with a smaller predicted fall is not taken in this stage.
    """

    @property
    def stages(self) -> int: ...

    @property
    def least_fall(self) -> float: ...

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether the stage is over: evaluated when it begins, and after each of its steps.

        Args:
            here: where the last step began, or where the first will.
            state: after that step.
        """
        ...


@dataclass(frozen=True)
class Stage:
    """One stage of a descent.

    A stage continues from the last point of the one before; with other samples it starts from the best point.

    Attributes:
        source: the problem of each step.
        lift: how D⁺ is applied.
        walk: from a lifted velocity to a displacement.
        control: chooses dampings and judges steps.
        leave: rules for when the stage is over; the `stages` of all rules that hold are added. Where no step is found
            the run advances by those of the first rule. Empty for the last stage, with which the run ends.
        solve_dtype: of residual and solves.
        ends_without_step: whether the run ends where no step is found, though another stage follows.
    """

    source: Source
    lift: Lift
    walk: Walk
    control: Control[Any]
    leave: tuple[Leave, ...] = ()
    solve_dtype: torch.dtype = torch.float64
    ends_without_step: bool = False

    def __post_init__(self) -> None:
        require_part(self.source, Source, "source", "gd.FixedSource(problem)")
        require_part(self.lift, Lift, "lift", LIFT)
        require_part(self.walk, Walk, "walk", WALK)
        require_control(self.control)
        if not isinstance(self.leave, tuple):
            raise InputError(f"leave = {self.leave!r}: a tuple of rules is needed, for example (gd.AfterSteps(10),).")
        for rule in self.leave:
            require_part(rule, Leave, "leave", "(gd.AfterSteps(10),)")
        settle(self, solve_dtype=SOLVES_IN, ends_without_step=OneOf((False, True)))

    @property
    def stages_without_step(self) -> int:
        """By how many stages the run advances where no step is found."""
        return self.leave[0].stages if self.leave and not self.ends_without_step else 0

    @property
    def least_fall(self) -> float:
        """The largest of its rules' `least_fall`."""
        return max((rule.least_fall for rule in self.leave), default=STATIONARY)

    def stages_on(self, here: Linearised, state: State) -> int:
        """By how many stages the run advances from here; 0 to stay."""
        return sum(rule.stages for rule in self.leave if rule.is_over(here, state))


@dataclass(frozen=True)
class OpeningEnds:
    """Ends the opening with inexact solves.

    Far from the minimum inexact solves lower the cost as much as exact ones, and take a small part of the time. The
    opening ends at a share of the reference cost, below which exact steps converge fast and inexact ones slowly; when
    the run has cost as much as `LONG` exact steps; and where an exact step costs no more than an inexact one. Of a D
    that is known by its products alone no matrix can be factorised: there it goes on until it finds no step; so it does
    where an exact step would take too much of the time that is left to a deadline.

    Args:
        exact: the lift of the steps that follow.
        below: the share of the reference cost.
    """

    exact: DenseLift
    below: float = VALLEY
    stages: int = 1
    least_fall: float = SEEN

    def __post_init__(self) -> None:
        if not isinstance(self.exact, DenseLift):
            raise InputError(f"exact is {self.exact!r}: a gd.GramLift or gd.NormalLift is needed, exact=gd.GramLift().")
        settle(self, below=POSITIVE, stages=STAGES, least_fall=NOT_NEGATIVE)

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether exact steps are the better use of the time."""
        if known_by_products(here.jacobian):
            return False
        flops = self.exact.step_flops(here.jacobian)
        worth = flops / here.jacobian.product_flops()
        if worth <= STEP_ITERATIONS:
            return True
        if not is_affordable(flops / FASTER_PRODUCTS, share=PIECE_SHARE):
            return False
        return state.stage.work > 0.0 and (
            state.cost <= self.below * state.reference or state.stage.work >= LONG * worth
        )


@dataclass(frozen=True)
class PartEnds:
    """Ends the steps on a part of the samples, where these make no more progress.

    Either the part is overfitted: its cost fell by a tenth below that at the best point, and the cost of all samples
    did not. Or `PART_PATIENCE` steps on the part have not brought the cost of all samples down by a tenth.
    """

    stages: int = 1
    least_fall: float = STATIONARY

    def __post_init__(self) -> None:
        settle(self, stages=STAGES, least_fall=NOT_NEGATIVE)

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether steps on all samples are the better use of the time."""
        return state.cost < PROGRESS * state.best.own_cost or is_idle(state, PART_PATIENCE)


@dataclass(frozen=True)
class AfterSteps:
    """The stage is left after so many accepted steps of the run.

    Args:
        steps: counted from the start of the run.
    """

    steps: int
    stages: int = 1
    least_fall: float = STATIONARY

    def __post_init__(self) -> None:
        settle(self, steps=Whole(10), stages=STAGES, least_fall=NOT_NEGATIVE)

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether the run has taken them."""
        return state.step >= self.steps


@dataclass(frozen=True)
class Method:
    """How to descend in one stage, without an opening: lift × walk × control.

    What is not given is planned: the lift by m, K and memory; natural control along the geodesic where its solves are
    exact, the gain ratio along straight steps where they are not.

    Attributes:
        lift: how D⁺ is applied.
        walk: from a lifted velocity to a displacement.
        control: chooses dampings and judges steps.
        solve_dtype: of residual and solves.
    """

    lift: Lift | None = None
    walk: Walk | None = None
    control: Control[Any] | None = None
    solve_dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        if self.lift is not None:
            require_part(self.lift, Lift, "lift", LIFT)
        if self.walk is not None:
            require_part(self.walk, Walk, "walk", WALK)
        if self.control is not None:
            require_control(self.control)
        settle(self, solve_dtype=SOLVES_IN)

    def stage(self, source: Source, problem: Problem) -> Stage:
        """The stage for this source.

        Args:
            problem: whose size the plan is made for.
        """
        lift = self.lift or planned_lift(problem)
        exact = chosen_lift(lift, problem, self.solve_dtype).exact
        walk = self.walk or (GeodesicWalk() if exact else EulerWalk())
        control = self.control or (NaturalControl() if exact else GainRatio())
        return Stage(source, lift, walk, control, solve_dtype=self.solve_dtype)


def require_control(control: object) -> None:
    """Raises InputError for what is no control, or a control whose state cannot be saved."""
    require_part(control, Control, "control", "gd.NaturalControl()")
    assert isinstance(control, Control)
    if not is_dataclass(control.state_type):
        raise InputError(
            f"the state of {type(control).__name__} is a {control.state_type!r}: it must be a dataclass of numbers, "
            "dampings and vectors like θ, so that it can be saved."
        )


def chosen_lift(lift: Lift, problem: Problem, dtype: torch.dtype) -> Lift:
    """The lift that is used for a problem of this size."""
    return lift.choice(problem.n_residuals, problem.n_params, dtype=dtype, device=problem.device)


def planned_lift(problem: Problem) -> PlannedLift:
    """The lift by size; equations, whose residuals can all become small at once, repay larger matrices than data."""
    return PlannedLift(for_exact=problem.has_equations)
