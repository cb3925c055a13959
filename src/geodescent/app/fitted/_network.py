"""A network fitted to the data themselves, with what rows left out say of its errors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.app._entries import Entries
from geodescent.app.fitted._predicted import CALIBRATION, INTERVAL_LEVEL, WEIGHTS, Mode, Predicted, Rows
from geodescent.app.fitted._scaling import Scaling
from geodescent.generalisation import Calibration, left_out_outputs, reach_of
from geodescent.outputs import SampleMap

ROWS_OF_A_CALL = 10_000  # Rows that the network is called on at once.


@dataclass(frozen=True)
class ScaledData:
    """How inputs and targets are scaled for a network, learnt on the training part.

    Attributes:
        inputs: one common factor for images, column by column otherwise.
        targets: of a regression; None for classes, whose targets are 1 for a row's class and 0 elsewhere.
    """

    inputs: Scaling
    targets: Scaling | None

    def as_dict(self) -> dict[str, dict[str, list[float]] | None]:
        """The numbers, for JSON."""
        return {
            "inputs": self.inputs.as_dict(),
            "targets": None if self.targets is None else self.targets.as_dict(),
        }


@dataclass(frozen=True)
class FittedNetwork:
    """A network at the end of its fit.

    Attributes:
        network: on scaled inputs, in evaluation mode.
        scaled: how they are scaled.
        missed: |target − output| of rows left out, increasing, in the target's units; empty for classes.
        calibration: of the outputs of classes, by rows left out; None for a regression, and before they were judged.
        log_loss: of rows left out; None for a regression.
    """

    network: nn.Module
    scaled: ScaledData
    missed: Rows = field(default_factory=lambda: np.zeros(0))
    calibration: Calibration | None = None
    log_loss: float | None = None

    @property
    def mode(self) -> Mode:
        """All digits of the targets."""
        return "exact"

    @property
    def left_out(self) -> float | None:
        """Root mean square error, or log loss, of rows left out."""
        if self.calibration is not None:
            return self.log_loss
        return float(np.sqrt(np.mean(self.missed**2))) if len(self.missed) else None

    @property
    def importance(self) -> Rows | None:
        """A plain network has no scales."""
        return None

    def predicted(self, inputs: Rows, level: float = INTERVAL_LEVEL) -> Predicted:
        """Output and interval, which is equally wide everywhere; or calibrated probabilities."""
        outputs = self.outputs(inputs)
        if self.calibration is not None:
            return Predicted.of_classes(self.calibration.probabilities(outputs).numpy())
        if self.scaled.targets is None:
            return Predicted.of_classes(torch.softmax(outputs, 1).numpy())
        mean = self.scaled.targets.invert(outputs.numpy())[:, 0]
        if self.left_out is None:
            return Predicted(mean, level=level)
        missed = torch.from_numpy(self.missed)
        reach = float(reach_of(missed[:, None], torch.ones_like(missed), level))
        return Predicted(mean, np.full(len(mean), self.left_out), mean - reach, mean + reach, level=level)

    def outputs(self, inputs: Rows) -> Tensor:
        """Of encoded inputs, (n, Q), in float64 on the CPU."""
        first = next(self.network.parameters())
        scaled = torch.tensor(self.scaled.inputs.apply(inputs), dtype=first.dtype, device=first.device)
        with torch.no_grad():
            return torch.cat([self.network(part) for part in torch.split(scaled, ROWS_OF_A_CALL)]).double().cpu()

    def files(self) -> Mapping[str, bytes]:
        """What rows left out say, and the state of the network, which torch loads as it stands."""
        state = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        found = self.calibration
        judgement = {
            "missed": self.missed.tolist(),
            "slope": None if found is None else float(found.slope),
            "shift": None if found is None else found.shift.tolist(),
            "log_loss": self.log_loss,
        }
        return {CALIBRATION: json.dumps(judgement).encode(), WEIGHTS: save(state)}

    @classmethod
    def opened(cls, network: nn.Module, scaled: ScaledData, judgement: Entries, *, n_classes: int) -> "FittedNetwork":
        """From its network and what was saved beside it. Raises ValueError, TypeError or KeyError for anything else."""
        missed = np.array(judgement["missed"], dtype=np.float64)
        if missed.ndim != 1 or not np.isfinite(missed).all() or not (np.diff(missed) >= 0.0).all():
            raise ValueError("missed is no increasing list of numbers")
        if judgement["slope"] is None:
            return cls(network.eval(), scaled, missed)
        slope = torch.tensor(float(judgement["slope"]), dtype=torch.float64, device="cpu")
        shift = torch.tensor(judgement["shift"], dtype=torch.float64, device="cpu")
        if scaled.targets is not None or shift.shape != (n_classes,):
            raise ValueError(f"shift has {shift.numel()} numbers for {n_classes} classes")
        return cls(network.eval(), scaled, missed, Calibration(slope, shift), float(judgement["log_loss"]))

    def judged(
        self, X: Tensor, y: Tensor, start: Theta, *, interpolates: bool, aimed: Tensor | None = None
    ) -> "FittedNetwork":
        """The same with what rows left out say.

        Args:
            X, y: scaled training rows, (N, d) and (N, Q).
            start: θ₀, (K,).
            interpolates: whether the fit went on to the end.
            aimed: targets whose end this is, (N, Q), by default y. The flow of time τ ends where the one to the end
                with the targets `y − e^{−τ}(y − x₀)` does, and without a sample, too, as far as D is constant.
        """
        of_rows = SampleMap(self.network, X)
        goal = y if aimed is None else aimed
        places, outputs = left_out_outputs(of_rows, of_rows.theta, start, goal, interpolates=interpolates)
        targets, outputs = y.cpu().double()[places], outputs.cpu().double()
        if self.scaled.targets is not None:
            missed = np.sort((targets - outputs).abs().numpy()[:, 0] * float(self.scaled.targets.scale[0]))
            return FittedNetwork(self.network, self.scaled, missed)
        labels, ones = targets.argmax(1), torch.ones(len(targets), dtype=torch.float64, device="cpu")
        calibration = Calibration.of(outputs, labels, ones)
        loss = float(calibration.losses(outputs, labels).mean())
        return FittedNetwork(self.network, self.scaled, calibration=calibration, log_loss=loss)
