"""The state of a run, on which alone its next step depends, and its conversion for saving."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from geodescent._record import StepRecord
from geodescent._types import Theta
from geodescent.descent._control import CostLevels, Damping
from geodescent.metric import EUCLIDEAN, Metric


@dataclass(frozen=True)
class Best:
    """The best point so far, by cost or by validation cost. Later points may be worse.

    Attributes:
        theta: (K,).
        cost: C of all data there; infinite where it is not known yet.
        own_cost: C there of the samples that steps are taken on, where these are a part of all.
    """

    theta: Theta
    cost: float
    own_cost: float


@dataclass(frozen=True)
class BatchState:
    """What a stage on growing batches remembers of its last steps.

    Attributes:
        size: samples of the next batch.
        costs: C of each batch before its step: what the steps before it brought on samples that they had not seen.
        falls: of ln C of each batch by its own step.
        length: of a step, as a share of the whole one; less than 1 where batches cannot grow any more.
    """

    size: int
    costs: tuple[float, ...] = ()
    falls: tuple[float, ...] = ()
    length: float = 1.0


@dataclass(frozen=True)
class StageState:
    """The current stage of a run, and its state.

    Attributes:
        index: of the stage.
        control: the state of its control; None where the stage has not begun.
        damping: with which the control of a new stage begins; None before the first step.
        work: the cost of all steps of the run so far, in iterations.
        iterations: of the solves of the last step.
        batch: of a stage on growing batches; None elsewhere, and where the stage has not begun.
    """

    index: int = 0
    control: Any = None
    damping: Damping | None = None
    work: float = 0.0
    iterations: int = 0
    batch: BatchState | None = None


@dataclass(frozen=True)
class State:
    """The state of a run, on which alone the next step depends.

    Attributes:
        theta, cost: the point of the last step, (K,), and C there, of the step's own problem.
        best: the best point.
        reference: the scale of costs, `reference_cost`.
        floor: the rounding floor, estimated once the cost may be near it, and again near it; 0 before.
        records: of the accepted steps, the start first.
        returns: to the best point, since its cost last fell by a tenth.
        stage: the state of its current stage.
        metric: of the parameters, on the path so far.
        linear: which entries of θ enter linearly and are solved for, a mask (K,); None where there are none.
    """

    theta: Theta
    cost: float
    best: Best
    reference: float
    floor: float
    records: tuple[StepRecord, ...]
    returns: int = 0
    stage: StageState = StageState()
    metric: Metric = EUCLIDEAN
    linear: Tensor | None = None

    @property
    def step(self) -> int:
        """Number of the last accepted step."""
        return self.records[-1].step

    @property
    def levels(self) -> CostLevels:
        """The costs with which a control compares others."""
        reference = max(self.reference, self.best.cost)
        is_formula = self.metric.is_by_columns and not self.metric.is_coarse
        return CostLevels(self.best.cost, reference, reference if is_formula else math.inf)

    def at_best(self) -> "State":
        """The same at the best point."""
        return replace(self, theta=self.best.theta, cost=self.best.cost)

    def least_validation(self) -> tuple[float, int]:
        """The least validation cost so far, and at which step."""
        known = [(r.validation_cost, r.step) for r in self.records if r.validation_cost is not None]
        return min(known, default=(math.inf, 0))


Numbers = dict[str, Any]  # what JSON can hold
Points = dict[str, Tensor]


def taken_apart(state: State) -> tuple[Numbers, Points]:
    """Numbers and points of a state without its records: what is saved of it."""
    stage = state.stage
    numbers: Numbers = {
        "cost": state.cost,
        "best_cost": state.best.cost,
        "best_own_cost": state.best.own_cost,
        "reference": state.reference,
        "floor": state.floor,
        "returns": state.returns,
        "stage": stage.index,
        "work": stage.work,
        "iterations": stage.iterations,
        "batch": None if stage.batch is None else asdict(stage.batch),
        "damping": None if stage.damping is None else [stage.damping.value, stage.damping.total_square],
        "control": None,
        "control_state": None if stage.control is None else type(stage.control).__qualname__,
        "metric_unit": state.metric.unit,
    }
    points: Points = {"theta": state.theta, "best": state.best.theta}
    beside = {"metric": state.metric.diagonal, "metric_groups": state.metric.groups, "linear": state.linear}
    points |= {name: point for name, point in beside.items() if point is not None}
    if stage.control is not None:
        numbers["control"] = {}
        for part in fields(stage.control):
            value = getattr(stage.control, part.name)
            if isinstance(value, Tensor):
                points[f"control.{part.name}"] = value
            else:
                numbers["control"][part.name] = asdict(value) if isinstance(value, Damping) else value
    return numbers, points


def put_together(
    numbers: Numbers, points: Points, records: tuple[StepRecord, ...], control_type: type[Any] | None
) -> State:
    """The inverse of `taken_apart`.

    Args:
        control_type: the class of the control's state at that stage; None to begin the stage anew, with its damping.
    """
    control = None
    if numbers["control"] is not None and control_type is not None:
        kept = {name: _restored(value) for name, value in numbers["control"].items()}
        prefix = "control."
        kept |= {name.removeprefix(prefix): point for name, point in points.items() if name.startswith(prefix)}
        control = control_type(**kept)
    damping = None if numbers["damping"] is None else Damping(*numbers["damping"])
    batch = numbers["batch"] and BatchState(**{name: _restored(value) for name, value in numbers["batch"].items()})
    return State(
        theta=points["theta"],
        cost=numbers["cost"],
        best=Best(points["best"], numbers["best_cost"], numbers["best_own_cost"]),
        reference=numbers["reference"],
        floor=numbers["floor"],
        records=records,
        returns=numbers["returns"],
        stage=StageState(numbers["stage"], control, damping, numbers["work"], numbers["iterations"], batch),
        metric=Metric(
            _of(points, "metric", torch.float64), _of(points, "metric_groups", torch.long), numbers["metric_unit"]
        ),
        linear=_of(points, "linear", torch.bool),
    )


def _of(points: Points, name: str, dtype: torch.dtype) -> Tensor | None:
    """A point in its own dtype: torch's optimizers load all tensors of their state in the dtype of the parameters."""
    return points[name].to(dtype) if name in points else None


def _restored(value: Any) -> Any:
    """A number, tuple or Damping of a control's state, as JSON gave it back."""
    if isinstance(value, dict):
        return Damping(**value)
    return tuple(value) if isinstance(value, list) else value
