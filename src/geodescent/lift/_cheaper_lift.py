"""Inexact solves, or exact ones where these cost less."""

from dataclasses import dataclass, field

from geodescent._types import Theta
from geodescent.jacobian import Jacobian
from geodescent.lift._krylov_lift import KrylovLift
from geodescent.lift._layer_factors import factors_flops
from geodescent.lift._planned_lift import DenseLift
from geodescent.lift._protocols import Lift, Prepared


@dataclass(frozen=True)
class CheaperLift(Lift):
    """Iterations behind the factors of the layers; or one matrix, where the factors alone cost as much as its solves.

    Of a D whose rows are formed, as that of a differential equation, the factors are the eigenvectors of DᵀD.

    Attributes:
        inexact: by iterations.
        matrix: by a factorised matrix.
    """

    inexact: KrylovLift
    matrix: DenseLift
    name: str = field(default="auto", init=False)

    def prepare(self, jacobian: Jacobian, *, metric: Theta | None = None) -> Prepared:
        return self.chosen(jacobian).prepare(jacobian, metric=metric)

    def chosen(self, jacobian: Jacobian) -> KrylovLift | DenseLift:
        """The one that costs less for this Jacobian."""
        is_formed = jacobian.blocks and jacobian.holds_rows
        cheaper = is_formed and factors_flops(jacobian) >= self.matrix.step_flops(jacobian)
        return self.matrix if cheaper else self.inexact

    @property
    def exact(self) -> bool:
        return False
