"""An explicit minimiser: an ordinary network, and what its construction found."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent.linalg import svd


@dataclass(frozen=True)
class Report:
    """What a construction found.

    Attributes:
        condition: the largest condition number on the way: of a layer's cumulative matrix, or of what the last layer
            solves.
        cost: `C = ‖x − y‖²/(2N)` of the network on its data, by a forward pass.
        error: the largest |x − y|.
        order: of the classes, as they were collapsed; empty where none is.
        apertures: λ of each stage, in that order: 1/λ is the condition number of its matrix.
        minimum: of what `shallow` minimises, in closed form; None elsewhere.
    """

    condition: float
    cost: float
    error: float
    order: tuple[int, ...] = ()
    apertures: tuple[float, ...] = ()
    minimum: float | None = None

    def __str__(self) -> str:
        lines = [f"largest error {self.error:.1e}, cost {self.cost:.1e}, condition number {self.condition:.1e}"]
        if self.order:
            stages = (f"{j}: {aperture:.1e}" for j, aperture in zip(self.order, self.apertures, strict=True))
            lines.append(f"classes in order, with their apertures: {', '.join(stages)}")
        return "\n".join(lines)


class Explicit(nn.Sequential):
    """Linear layers with ReLU between them.

    Attributes:
        report: what the construction found.
    """

    report: Report


def network_of(weights: Sequence[tuple[Tensor, Tensor]], dtype: torch.dtype) -> Explicit:
    """The network of these matrices (d_out, d_in) and biases (d_out,)."""
    layers = list[nn.Module]()
    for weight, bias in weights:
        layers += [linear(weight, bias, dtype), nn.ReLU()]
    return Explicit(*layers[:-1])


def linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> nn.Linear:
    """A layer with these numbers."""
    empty = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=dtype)
    layer = empty.to_empty(device=weight.device)  # torch's own start would be drawn from the global random state
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def last_layer(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """`W, b` of least norm with `W f_i + b = y_i`, and the condition number of `[f 1]`.

    Args:
        features: f, (n, d), float64.
        targets: y, (n, Q), float64.
    """
    table = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    u, sigma, vh = svd(table)
    keep = sigma > max(table.shape) * torch.finfo(table.dtype).eps * sigma[0]
    u, kept, vh = u[:, keep], sigma[keep], vh[keep]

    def inverse(rows: Tensor) -> Tensor:
        solution: Tensor = vh.T @ ((u.T @ rows) / kept[:, None])
        return solution

    solution = inverse(targets)
    solution = solution + inverse(targets - table @ solution)  # one refinement
    return solution[:-1].T, solution[-1], float(kept[0] / kept[-1]) if bool(keep.all()) else float("inf")


def reported(
    network: Explicit,
    inputs: Tensor,
    targets: Tensor,
    *,
    condition: float,
    order: tuple[int, ...] = (),
    apertures: tuple[float, ...] = (),
    minimum: float | None = None,
) -> Explicit:
    """The network with its report, measured by a forward pass."""
    with torch.no_grad():
        off = network(inputs.to(next(network.parameters()).dtype)).double() - targets
    cost = float(off.square().sum()) / (2.0 * len(off))
    network.report = Report(condition, cost, float(off.abs().max()), order, apertures, minimum)
    return network
