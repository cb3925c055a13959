"""The lift of steps that go along gradients: nothing is solved for."""

from dataclasses import dataclass, field

from geodescent.lift._paced_lift import PacedLift


@dataclass(frozen=True)
class GradientLift(PacedLift):
    """Of steps along gradients, whose control asks for no solve; what else asks for one has that of `PacedLift`."""

    name: str = field(default="gradient", init=False)
