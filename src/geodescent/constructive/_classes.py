"""Classes: samples whose targets are the same."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.problem import require_finite


@dataclass(frozen=True)
class Classes:
    """A table of inputs, its rows sorted into classes by their targets.

    Attributes:
        inputs: x, (N, M), float64.
        targets: y_j, one row a class, (J, Q), float64; ordered by the column of their largest number, so that one-hot
            classes keep their numbers.
        labels: the class of each row, (N,).
        dtype: of the table that was given, and of the network that is made.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor) -> "Classes":
        """Raises InputError for what is no table, or not finite."""
        X, Y = checked_table(inputs, targets)
        values, which = torch.unique(Y, dim=0, return_inverse=True)
        order = values.argmax(1).argsort(stable=True)
        return cls(X, values[order], order.argsort()[which], inputs.dtype)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def members(self) -> tuple[Tensor, ...]:
        """Rows of each class."""
        return tuple(torch.nonzero(self.labels == j)[:, 0] for j in range(len(self)))

    @property
    def width(self) -> int:
        """M."""
        return self.inputs.shape[1]

    def means(self) -> Tensor:
        """Of the inputs of each class, (J, M)."""
        return torch.stack([self.inputs[rows].mean(0) for rows in self.members])

    def name(self, j: int) -> str:
        """A class for people: its number, its size, and its target."""
        target = self.targets[j]
        shown = ", ".join(f"{value:.3g}" for value in target.tolist())
        if len(target) > 4:
            shown = f"of {len(target)} numbers, the largest {float(target.max()):.3g} in column {int(target.argmax())}"
        return f"class {j} (target {shown}; {len(self.members[j])} samples)"


def checked_table(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """X (N, M) and Y (N, Q) in float64; raises InputError."""
    for values, what in ((inputs, "X"), (targets, "Y")):
        if not isinstance(values, Tensor) or not values.dtype.is_floating_point or values.dim() not in (1, 2):
            raise InputError(f"{what} must be a table of floating-point numbers: a tensor of shape (N, columns).")
        require_finite(values, what)
    if inputs.dim() != 2 or len(inputs) == 0 or inputs.shape[1] == 0:
        raise InputError(f"X has shape {tuple(inputs.shape)}: (N, M) with at least one row and one column is needed.")
    if targets.numel() == 0:
        raise InputError(f"Y has shape {tuple(targets.shape)}: at least one column is needed.")
    if len(targets) != len(inputs):
        raise InputError(f"X holds {len(inputs)} rows and Y {len(targets)}: one target a row is needed.")
    return inputs.detach().double(), targets.detach().double().reshape(len(targets), -1)
