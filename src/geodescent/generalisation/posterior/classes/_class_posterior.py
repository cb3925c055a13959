"""The posterior of classes: probabilities of several starts, averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodescent._conversion import Values
from geodescent.generalisation.posterior._covariance import PriorRows
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._saved import SavedTensors, named, require_true, shapes_of_prior, size_of
from geodescent.generalisation.posterior._scaling import Standardised
from geodescent.generalisation.posterior._tuning import TuningRecord
from geodescent.generalisation.posterior.classes._calibration import Calibration
from geodescent.generalisation.posterior.classes._class_member import ClassMember, ClassRows

MOST_ROWS_OF_CLASSES = 3000  # Rows that the posterior is conditioned on, at most: each class has matrices of its own.


@dataclass(frozen=True, repr=False)
class ClassPosterior:
    """What is believed of the classes after the data.

    Attributes:
        members: one for each start; numbers, amplitude and rows are those of all.
        inputs, ranks: of the columns.
        left_out_log_loss: the mean log loss to expect of new rows, by the rows left out.
        notes: sentences for the user.
        history: of the search for the numbers.
    """

    members: Sequence[ClassMember]
    inputs: Standardised
    ranks: Ranks
    left_out_log_loss: float
    notes: list[str] = field(default_factory=list)
    history: Sequence[TuningRecord] = ()

    def __repr__(self) -> str:
        rows, columns = self.members[0].rows.x.shape
        loss = self.left_out_log_loss
        return f"ClassPosterior({rows} rows of {columns} columns, log loss of rows left out {loss:.3g})"

    @property
    def numbers(self) -> PriorNumbers:
        """Of the prior, in units of standardised columns."""
        return self.members[0].numbers

    @property
    def scales(self) -> Tensor:
        """How much each standardised input moves the network, s_f, (d,)."""
        return self.numbers.scales

    @property
    def rows_used(self) -> int:
        """Different rows that it is conditioned on."""
        return len(self.members[0].rows.weights)

    def probabilities(self, X: Values) -> Tensor:
        """Of each class, (n, number of classes)."""
        return torch.cat([self._of_rows(part) for part in self.inputs.parts(X, self.rows_used)])

    def tensors(self) -> dict[str, Tensor]:
        """All numbers of it by name, to be kept by safetensors, for example; notes and history are left out.

        Factors are not kept: they are made again when probabilities are first asked for.
        """
        members = self.members
        starts = {
            "dual": torch.stack([member.dual for member in members]),
            "slope": torch.stack([member.calibration.slope for member in members]),
            "shift": torch.stack([member.calibration.shift for member in members]),
        }
        parts = {"numbers": vars(self.numbers), "inputs": vars(self.inputs), "ranks": self.ranks.tensors()}
        parts |= {"rows": vars(members[0].rows), "starts": starts}
        found = named(parts, [member.network for member in members])
        figures = {"amplitude": members[0].amplitude, "left_out_log_loss": self.left_out_log_loss}
        return found | {k: torch.tensor(v, dtype=torch.float64, device="cpu") for k, v in figures.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ClassPosterior":
        """The inverse, for files of strangers too: raises a ValueError for whatever is no posterior, or does not fit.

        Cost: a forward and a backward pass of the rows for each start.
        """
        saved = _checked(tensors)
        numbers, ranks = PriorNumbers(**saved.of("numbers")), Ranks.from_tensors(**saved.of("ranks"))
        networks = saved.networks(len(numbers.scales), len(saved["starts.dual"]))
        rows, amplitude = ClassRows(**saved.of("rows")), float(saved["amplitude"])
        of_rows, members = ranks(rows.x), list[ClassMember]()
        for i, network in enumerate(networks):
            seen = PriorRows.of(network, rows.x, of_rows, numbers).detached()
            calibration = Calibration(saved["starts.slope"][i], saved["starts.shift"][i])
            members.append(ClassMember(numbers, amplitude, network, seen, rows, saved["starts.dual"][i], calibration))
        inputs, loss = Standardised(**saved.of("inputs")), float(saved["left_out_log_loss"])
        return cls(members, inputs, ranks, loss)

    def _of_rows(self, x: Tensor) -> Tensor:
        ranks = self.ranks(x)
        return torch.stack([member.probabilities(x, ranks) for member in self.members]).mean(0)


def _checked(tensors: Mapping[str, Tensor]) -> SavedTensors:
    """Raises InputError for what is no posterior of classes."""
    n_starts, n_rows, n_latents = size_of(tensors, "starts.dual", 3)
    (_, d), (n_values,) = size_of(tensors, "rows.x", 2), size_of(tensors, "ranks.values", 1)
    most = MOST_ROWS_OF_CLASSES
    require_true(n_rows <= most, f"has {n_rows} rows, and never more than {most} are used")
    require_true(n_latents != 2, "has two latent functions, where two classes have one")
    shapes: dict[str, tuple[int, ...]] = {"amplitude": (), "left_out_log_loss": (), "rows.x": (n_rows, d)}
    shapes |= {"rows.targets": (n_rows, n_latents), "rows.weights": (n_rows,), "starts.slope": (n_starts,)}
    shapes |= {"starts.dual": (n_starts, n_rows, n_latents), "starts.shift": (n_starts, n_latents)}
    shapes |= shapes_of_prior(d, n_values, n_starts, "numbers")
    saved = SavedTensors.checked(tensors, shapes)
    targets = saved["rows.targets"]
    marked = bool(((targets == 0.0) | (targets == 1.0)).all()) and bool((targets.sum(1) <= 1.0).all())
    require_true(marked and (n_latents == 1 or bool((targets.sum(1) == 1.0).all())), "has rows without a class")
    saved.require_memory(n_starts, n_rows, d, n_latents + 1)
    return saved
