"""The posterior of several starts together: mean, standard deviation, intervals, and what each row left out says."""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from geodescent._conversion import Values
from geodescent._files import write_whole
from geodescent._settings import SHARE_INSIDE
from geodescent.generalisation.posterior._covariance import PriorRows
from geodescent.generalisation.posterior._iterated import INDUCING
from geodescent.generalisation.posterior._member import Member
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._plain_network import PlainNetwork, most_probable
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._reach import reach_of
from geodescent.generalisation.posterior._rows import FittedRows
from geodescent.generalisation.posterior._saved import SavedTensors, named, require_true, shapes_of_prior, size_of
from geodescent.generalisation.posterior._scaling import Standardised
from geodescent.generalisation.posterior._tuning import TuningRecord

MOST_FACTORED = 5000  # Rows up to which a start has one factor, 200 MB; more are conditioned on by iteration.
MOST_ROWS = 20_000  # Rows that the posterior is conditioned on, at most: 1.6 GB for their covariance in float32.
SURPLUS = 5  # Numbers tuned beside one for each input: left-out residuals lack so many degrees of freedom.
WIDTH_OF_NOTES = 80  # Of a terminal, which the notes of a printed posterior are wrapped to.
NOISE_FREE, PREDICTABLE = 2e-6, 1e-4
"""Shares of the targets' variance: noise, and the mean square of rows left out, below which there is no noise."""


@dataclass(frozen=True, repr=False)
class Posterior:
    """What is believed of the targets after the data: `gd.fit_posterior` makes it.

        mean, deviation = posterior.predict(X), posterior.standard_deviation(X)
        lower, upper = posterior.interval(X, level=0.9)

    All results have the shape of y for the rows of X, (n,) or (n, Q), in the units of y.

    Attributes:
        numbers: of prior and noise, in units of standardised columns.
        alone: the same, tuned for the network and the linear part without steps.
        members: one for each start.
        inputs, targets: how columns were standardised.
        ranks: of the inputs.
        rows: that it is conditioned on.
        notes: sentences for the user.
        history: of the search for the numbers.
        missed: by how many standard deviations each row is missed without it, (N, Q), where its fold had no part in the
            numbers of prior and noise either; None for few rows and for many.
    """

    numbers: PriorNumbers
    alone: PriorNumbers
    members: Sequence[Member]
    inputs: Standardised
    targets: Standardised
    ranks: Ranks
    rows: FittedRows
    notes: list[str] = field(default_factory=list)
    history: Sequence[TuningRecord] = ()
    missed: Tensor | None = None

    def __repr__(self) -> str:
        rows, columns = len(self.rows.places), len(self.numbers.scales)
        return f"Posterior({rows} rows of {columns} columns, R² of rows left out {self.left_out_score:.3g})"

    def __str__(self) -> str:
        rows, columns, starts = len(self.rows.places), len(self.numbers.scales), len(self.members)
        averaged = "1 start" if starts == 1 else f"{starts} starts averaged"
        error = self.left_out_rmse
        shown = f"{error:.4g}" if isinstance(error, float) else ", ".join(f"{float(e):.4g}" for e in error)
        lines = [
            f"posterior of {rows} rows of {columns} columns, {averaged}",
            f"error to expect of new rows, by rows left out: {shown} (R² {self.left_out_score:.3g})",
            f"noise: {self.noise:.2g} of the targets' variance",
        ]
        return "\n".join(textwrap.fill(line, WIDTH_OF_NOTES, break_on_hyphens=False) for line in [*lines, *self.notes])

    def predict(self, X: Values) -> Tensor:
        """The mean."""
        parts = self.inputs.parts(X, self.rows_used)
        return self._shaped(self.targets.undone(torch.cat([self._mean_of_rows(part) for part in parts])))

    def standard_deviation(self, X: Values) -> Tensor:
        """Of a new target, noise included; one for all outputs, each in its own units."""
        return self.moments(X)[1]

    def moments(self, X: Values) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation at once."""
        mean, deviation = self._moments(X)
        return self._shaped(self.targets.undone(mean)), self._shaped(deviation * self.targets.deviation)

    def interval(self, X: Values, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """`mean ± q·deviation`: q is the ⌈level·(N + 1)⌉-th smallest of what rows left out are off by, in deviations.

        Of 30 to 1,000 rows a third is left out at a time, and has no part in the numbers of prior and noise either; of
        others each row is left out alone, in closed form.

        Source: the jackknife+ of Barber and others, *Predictive inference with the jackknife+* (2021), for the idea;
        scaled by each row's own deviation here.
        """
        quantile = self.reach(level)
        mean, deviation = self._moments(X)
        reach = quantile * deviation
        return self._shaped(self.targets.undone(mean - reach)), self._shaped(self.targets.undone(mean + reach))

    def network(self) -> PlainNetwork:
        """A module of torch, raw numbers in, (n, d), and out, (n, Q): its networks at their most probable parameters.

        The mean over the starts of a network and a linear part that are left where the sum of `w (y − x[θ])²/σ²` and
        `(θ − θ₀)²/pv` is least; prior and noise are those tuned without steps, which no network has. It is good for
        export, and a few per cent worse than `predict`, more where targets go by steps; error bars are those above.

        Cost: 5 to 30 times N³ multiply-adds for each start and output; of more than 5,000 rows the first 5,000 drawn.
        """
        rows = self.rows if self.rows_used <= MOST_FACTORED else self.rows.drawn(MOST_FACTORED)
        networks = [member.network for member in self.members]
        branches = [
            [most_probable(network, self.alone, rows, output) for network in networks]
            for output in range(rows.y.shape[1])
        ]
        return PlainNetwork(branches, self.inputs, self.targets)

    @property
    def left_out(self) -> Tensor:
        """`y_i − x_i` where x_i is predicted without row i, in the shape and the units of y: no row was held out.

        A row that is given several times is left out with all its repetitions. Rows of weight 0, and rows that were
        not drawn where there are too many, are not among them.
        """
        return self._shaped((self._left_out * self.targets.deviation)[self.rows.places])

    @property
    def left_out_rmse(self) -> float | Tensor:
        """The root mean square error to expect of new rows, by the rows left out; (Q,) where y had two axes."""
        found = self._left_out_share.sqrt() * self.targets.deviation
        return float(found[0]) if self.rows.flat else found

    @property
    def left_out_score(self) -> float:
        """R² of the rows left out, averaged over outputs."""
        return float(1.0 - self._left_out_share.mean())

    @property
    def flat(self) -> bool:
        """Whether y had one axis."""
        return self.rows.flat

    @property
    def is_noise_free(self) -> bool:
        """Whether the evidence finds no noise, and rows left out are predicted to a hundredth of the spread."""
        return self.noise <= NOISE_FREE and 1.0 - self.left_out_score <= PREDICTABLE

    @property
    def scales(self) -> Tensor:
        """How much each standardised input moves the network, s_f, (d,)."""
        return self.numbers.scales

    @property
    def rows_used(self) -> int:
        """Different rows that it is conditioned on."""
        return len(self.rows.weights)

    @property
    def noise(self) -> float:
        """The share of the targets' variance that is noise."""
        return float(self.numbers.noise)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Its tensors as a file of safetensors, the scaled training rows among them; `gd.Posterior.load` opens it."""
        write_whole(Path(path), save(self.tensors()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Posterior":
        """What was saved there, on the CPU; raises a ValueError for a file that is no posterior."""
        return cls.from_tensors(SavedTensors.in_file(path))

    def tensors(self) -> dict[str, Tensor]:
        """All numbers of it by name; notes and history are left out, and factors, which are made again when needed."""
        members, rows = self.members, {k: v for k, v in vars(self.rows).items() if isinstance(v, Tensor)}
        missed = self.rows.y[:0] if self.missed is None else self.missed
        rows |= {"noise": members[0].noise, "picked": members[0].picked, "missed": missed}
        starts = {
            "solved": torch.stack([member.solved for member in members]),
            "left_out": torch.stack([member.left_out for member in members]),
            "left_out_variance": torch.stack([member.left_out_variance for member in members]),
        }
        parts = {"numbers": vars(self.numbers), "alone": vars(self.alone), "inputs": vars(self.inputs)}
        parts |= {"targets": vars(self.targets), "ranks": self.ranks.tensors(), "rows": rows, "starts": starts}
        found = named(parts, [member.network for member in members])
        return found | {"flat": torch.tensor(int(self.flat), device="cpu")}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Posterior":
        """The inverse, for files of strangers too: raises a ValueError for whatever is no posterior, or does not fit.

        Cost: a forward and a backward pass of the rows for each start.
        """
        saved = _checked(tensors)
        numbers, alone = PriorNumbers(**saved.of("numbers")), PriorNumbers(**saved.of("alone"))
        ranks = Ranks.from_tensors(**saved.of("ranks"))
        networks = saved.networks(len(numbers.scales), len(saved["starts.solved"]))
        rows = FittedRows(**{k: saved[f"rows.{k}"] for k in ("x", "y", "weights", "places")}, flat=bool(saved["flat"]))
        of_rows, members = ranks(rows.x), list[Member]()
        for i, network in enumerate(networks):
            seen = PriorRows.of(network, rows.x, of_rows, numbers).detached()
            solved, left_out, variance = (saved[f"starts.{k}"][i] for k in ("solved", "left_out", "left_out_variance"))
            members.append(
                Member(numbers, network, seen, saved["rows.noise"], solved, left_out, variance, saved["rows.picked"])
            )
        inputs, targets = Standardised(**saved.of("inputs")), Standardised(**saved.of("targets"))
        missed = saved["rows.missed"] if len(saved["rows.missed"]) else None
        return cls(numbers, alone, members, inputs, targets, ranks, rows, missed=missed)

    @property
    def _left_out_share(self) -> Tensor:
        """The mean square of what rows left out are off by, as a share of the targets' variance, (Q,)."""
        share = (self.rows.weights / self.rows.weights.sum())[:, None]
        return (share * self._left_out.square()).sum(0)

    @property
    def _left_out(self) -> Tensor:
        """In standardised units, enlarged by the degrees of freedom that tuning has taken, half of all at most."""
        n, d = float(self.rows.weights.sum()), len(self.numbers.scales)
        factor = math.sqrt(n / max(0.5 * n, n - d - SURPLUS))
        return factor * torch.stack([member.left_out for member in self.members]).mean(0)

    def reach(self, level: float = 0.9) -> Tensor:
        """q of each output, (Q,): how many standard deviations an interval goes to either side of the mean."""
        missed = self._scaled if self.missed is None else self.missed
        return reach_of(missed, self.rows.weights, SHARE_INSIDE.of("level", level))

    @property
    def _scaled(self) -> Tensor:
        """What rows left out are off by, in the standard deviations of a new target in their places, (N, Q)."""
        apart = torch.stack([member.left_out for member in self.members]).var(0, correction=0)
        without_noise = [(member.left_out_variance - member.noise).clamp(min=0.0) for member in self.members]
        own = torch.stack(without_noise).mean(0)[:, None] + self.numbers.noise
        return self._left_out.abs() / (own + apart).sqrt()

    def _moments(self, X: Values) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of new targets, standardised, (n, Q)."""
        parts = [self._of_rows(part) for part in self.inputs.parts(X, self.rows_used)]
        return torch.cat([mean for mean, _ in parts]), torch.cat([deviation for _, deviation in parts])

    def _mean_of_rows(self, x: Tensor) -> Tensor:
        ranks = self.ranks(x)
        return torch.stack([member.mean(member.at(x, ranks)) for member in self.members]).mean(0)

    def _of_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ranks, means, variances = self.ranks(x), list[Tensor](), list[Tensor]()
        for member in self.members:
            rows = member.at(x, ranks)
            means.append(member.mean(rows))
            variances.append(member.variance(rows))
        variance = torch.stack(variances).mean(0)[:, None] + self.numbers.noise
        together = torch.stack(means)
        mean = together.mean(0)
        return mean, (variance + (together - mean).square().mean(0)).sqrt()

    def _shaped(self, values: Tensor) -> Tensor:
        return values[:, 0] if self.rows.flat else values


def _checked(tensors: Mapping[str, Tensor]) -> SavedTensors:
    """Raises InputError for what is no posterior."""
    n_starts, n_rows, n_outputs = size_of(tensors, "starts.left_out", 3)
    (_, d), (n_values,), (n_picked,) = (
        size_of(tensors, name, k) for name, k in (("rows.x", 2), ("ranks.values", 1), ("rows.picked", 1))
    )
    require_true(n_rows <= MOST_ROWS, f"has {n_rows} rows, and never more than {MOST_ROWS} are used")
    most = MOST_FACTORED if n_picked == n_rows else INDUCING
    require_true(n_picked <= most, f"has variances through {n_picked} rows, and {most} are the most")
    shapes: dict[str, tuple[int, ...]] = {"flat": (), "rows.x": (n_rows, d), "rows.y": (n_rows, n_outputs)}
    shapes |= {f"rows.{name}": (n_rows,) for name in ("weights", "noise")} | {"rows.picked": (n_picked,)}
    missed = tensors.get("rows.missed")
    n_missed = len(missed) if isinstance(missed, Tensor) and missed.dim() == 2 else -1
    require_true(n_missed in (0, n_rows), f"of {n_rows} rows says of {n_missed} by how much they are missed")
    shapes["rows.missed"] = (n_missed, n_outputs)
    shapes |= {"rows.places": size_of(tensors, "rows.places", 1), "starts.left_out": (n_starts, n_rows, n_outputs)}
    shapes |= {"starts.solved": (n_starts, n_rows, n_outputs), "starts.left_out_variance": (n_starts, n_rows)}
    shapes |= {"targets.mean": (n_outputs,), "targets.deviation": (n_outputs,)}
    shapes |= shapes_of_prior(d, n_values, n_starts, "numbers", "alone")
    saved = SavedTensors.checked(tensors, shapes)
    for name in ("places", "picked"):
        found = saved[f"rows.{name}"]
        inside = bool(((found >= 0) & (found < n_rows)).all())
        require_true(inside, f"of {n_rows} rows has {name} outside of 0 to {n_rows - 1}")
    saved.require_memory(n_starts, n_rows, d, 1 if n_picked == n_rows else 0)
    flat = int(saved["flat"])
    require_true(flat == 0 or (flat == 1 and n_outputs == 1), f"is flat ({flat}), and has {n_outputs} outputs")
    require_true(bool((saved["rows.picked"].diff() > 0).all()), "picks rows twice")
    return saved
