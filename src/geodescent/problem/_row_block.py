"""One named block of rows: an output map, its target, and the weights of its samples."""

from dataclasses import dataclass, field

from torch import Tensor

from geodescent._conversion import conversion_note, converted_name
from geodescent._errors import InputError
from geodescent._settings import POSITIVE, settle
from geodescent._types import Outputs
from geodescent.linalg import row_total
from geodescent.outputs import Noted, OutputMap
from geodescent.problem._checks import checked_target, checked_weights, require_finite, require_map, require_squares


@dataclass(frozen=True, eq=False)
class RowBlock:
    """One named block of rows: its share of the cost is `weight · ‖√w (x − y)‖²/(2N)`.

        gd.RowBlock("sensors", gd.SampleMap(model, X), y, weights=w)
        gd.RowBlock("size", gd.FunctionMap(lambda theta: theta, theta0), torch.zeros_like(theta0), weight=1e-3)

    Attributes:
        name: for the history, the certificate and statistics.
        map: the output map.
        target: y, in the shape of the outputs; also (N,) for one output. Arrays, lists and frames become tensors.
        weights: w ≥ 0, (N,), of single samples; N = Σw. None for ones, N being the first size of the target.
        weight: λ > 0, of the whole block against the others.
        notes: what was converted on the way, in sentences.

    Raises: InputError, where the target or the weights do not fit the map.
    """

    name: str
    map: OutputMap
    target: Outputs
    weights: Tensor | None = None
    weight: float = 1.0
    notes: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"the name of a block is a {type(self.name).__name__}: pass a text, for example 'data'.")
        if not isinstance(self.map, OutputMap):
            raise InputError(
                f"block {self.name!r}: {type(self.map).__name__} is no output map, which has theta, shape, dtype, "
                "device, __call__, linearise, second_derivative and write. Pass gd.SampleMap(model, X), or "
                "gd.FunctionMap(f, theta0)."
            )
        try:
            require_map(self.map)
            target = checked_target(self.map, self.target)
            weights = checked_weights(self.weights, target)
        except InputError as error:
            raise error if self.name == "data" else InputError(f"block {self.name!r}: {error}") from None
        called = "y" if self.name == "data" else f"the y of block {self.name!r}"
        require_finite(target, called)
        require_squares(target, called)
        if not POSITIVE.allows(self.weight):
            raise InputError(f"block {self.name!r} has weight {self.weight}: {POSITIVE.need}, for example weight=1.0.")
        settle(self, weight=POSITIVE)
        notes, names = (self.map.notes, self.map.converted) if isinstance(self.map, Noted) else ([], [])
        names = [*names, *converted_name("y", self.target), *converted_name("weights", self.weights)]
        notes = [*notes, *conversion_note(names, target)]
        object.__setattr__(self, "target", target)  # as (N, Q)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "notes", tuple(notes))

    def of_samples(self, outputs: OutputMap, target: Outputs, weights: Tensor | None) -> "RowBlock":
        """The block on some of its samples, which were checked with all: the map of these, y (N, Q), and w."""
        other = object.__new__(RowBlock)
        other.__dict__.update(self.__dict__, map=outputs, target=target, weights=weights, notes=())
        return other

    @property
    def total_weight(self) -> float:
        """N = Σw."""
        return float(len(self.target)) if self.weights is None else row_total(self.weights)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.target.shape[0]

    @property
    def n_outputs(self) -> int:
        """Q."""
        return self.target.shape[1]

    @property
    def is_plain(self) -> bool:
        """Whether the rows enter the cost unweighted."""
        return self.weights is None and self.weight == 1.0
