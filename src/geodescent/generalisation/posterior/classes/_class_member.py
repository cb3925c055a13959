"""The posterior of classes of one start."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from geodescent._types import Gram
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior.classes._calibration import Calibration, shrunk
from geodescent.generalisation.posterior.classes._laplace import LatentMode, kind_of, mode_of


@dataclass(frozen=True)
class ClassRows:
    """Different rows, standardised, that a posterior of classes is conditioned on.

    Attributes:
        x: inputs, (N, d).
        targets: 1 for a row's class, (N, C); of two classes the second alone, (N, 1).
        weights: how often each counts, (N,).
    """

    x: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def labels(self) -> Tensor:
        """From 0, (N,)."""
        return self.targets[:, 0].long() if self.targets.shape[1] == 1 else self.targets.argmax(1)


@dataclass(frozen=True)
class ClassMember:
    """Latent functions of one start; their covariance is made when probabilities are first asked for.

    Attributes:
        numbers: of the prior, in units of standardised columns.
        amplitude: on the prior covariance.
        network: at its start.
        seen: the rows that it is conditioned on, as the covariance needs them.
        rows: the same with their classes.
        dual: of the mode, (N, C).
        calibration: on rows left out.
    """

    numbers: PriorNumbers
    amplitude: float
    network: nn.Module
    seen: PriorRows
    rows: ClassRows
    dual: Tensor
    calibration: Calibration

    def __getstate__(self) -> dict[str, object]:
        """Without the mode, whose matrices are several times as large as all else."""
        return {name: value for name, value in vars(self).items() if name != "mode"}

    @classmethod
    def of(
        cls,
        numbers: PriorNumbers,
        amplitude: float,
        network: nn.Module,
        seen: PriorRows,
        rows: ClassRows,
        gram: Gram,
        near: "ClassMember | None" = None,
    ) -> "tuple[ClassMember, Tensor]":
        """At the mode, calibrated, and the probabilities of each row left out, (N, number of classes).

        Args:
            gram: the prior covariance of the rows at amplitude one, (N, N).
            near: another amplitude, whose latent functions the search for the mode begins with.
        """
        begin = None if near is None else near.dual * (near.amplitude / amplitude)
        mode = mode_of(amplitude * gram, rows.targets, rows.weights, begin)
        latents = shrunk(*mode.left_out())
        calibration = Calibration.of(latents, rows.labels, rows.weights)
        member = cls(numbers, amplitude, network, seen, rows, mode.dual, calibration)
        return member, calibration.probabilities(latents)

    @cached_property
    def mode(self) -> LatentMode:
        """Of the latent functions."""
        gram = self.amplitude * covariance(self.seen, self.seen, self.numbers)
        return kind_of(self.rows.targets)(gram, self.rows.targets, self.rows.weights, self.dual)

    def probabilities(self, x: Tensor, ranks: Tensor) -> Tensor:
        """Of each class for other rows, (n, number of classes)."""
        others = PriorRows.of(self.network, x, ranks, self.numbers).detached()
        across = self.amplitude * covariance(self.seen, others, self.numbers)
        prior = self.amplitude * variances(others, self.numbers)
        return self.calibration.probabilities(shrunk(*self.mode.predicted(across, prior)))
