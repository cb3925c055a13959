"""How a run lifts velocities, in words for its statistics."""

from dataclasses import dataclass, field

import torch

from geodescent.jacobian import Jacobian
from geodescent.lift._planned_lift import PlannedLift
from geodescent.lift._protocols import Lift


@dataclass(frozen=True)
class Described:
    """The lift that is used, and how the parameters enter G; it holds none of the numbers of a Jacobian.

    Attributes:
        shape: (m, K), of the Jacobian that was looked at; None where there was none.
        lift, settings: the lift's name and its text.
        routes: of the parameters.
        failure: why there is no description, of a lift or a Jacobian of the user's own; None where there is one.
    """

    shape: tuple[int, int] | None = None
    lift: str | None = None
    settings: str | None = None
    routes: list[dict[str, object]] = field(default_factory=list)
    failure: str | None = None

    @classmethod
    def of(
        cls, lift: Lift, shape: tuple[int, int], last: Jacobian | None, *, dtype: torch.dtype, device: torch.device
    ) -> "Described":
        """The lift for m residuals and K parameters.

        Args:
            shape: (m, K) of the problem.
            last: a Jacobian of the run, which may be that of a part of the rows; None where no step was taken.
        """
        try:
            chosen = lift_used(lift, shape, last, dtype=dtype, device=device)
            routes = [] if last is None else last.routes()
            return cls(None if last is None else last.shape, chosen.name, str(chosen), routes)
        except Exception as error:  # whatever it is, the run goes on and its result stays
            return cls(None if last is None else last.shape, failure=f"{type(error).__name__}: {error}")


def lift_used(
    lift: Lift, shape: tuple[int, int], last: Jacobian | None, *, dtype: torch.dtype, device: torch.device
) -> Lift:
    """The lift that is used for m residuals and K parameters: itself, or what a plan picks.

    Args:
        last: a Jacobian, which tells what its size does not; one of another shape is not looked at.
    """
    if isinstance(lift, PlannedLift) and last is not None and last.shape == shape:
        return lift.chosen(last)
    return lift.choice(*shape, dtype=dtype, device=device)
