"""The network and the linear part of a posterior as a plain module, at their most probable parameters."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.generalisation.posterior._network import linear_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._rows import FittedRows
from geodescent.generalisation.posterior._scaling import Standardised
from geodescent.outputs import SampleMap

MOST_STEPS, MOST_TRIALS = 30, 12
"""Steps of damped Gauss–Newton, and dampings that are tried for one of them."""
SETTLED_COST = 1e-4  # Relative fall of the objective by a step: of steps that gain less predictions feel nothing.
DAMPING_AFTER_FAILURE, FACTOR_OF_DAMPING = 0.1, 4.0
"""Of the prior's inverse covariance: after the first step that fails, and what it rises and falls by."""


class Branch(nn.Module):
    """`w·z + b + network(s ∘ z) − start(s ∘ z)` of standardised inputs, one output: 0 at the start.

    Args:
        network: at its start, which stays as it is.
        scales: s.
    """

    def __init__(self, network: nn.Module, scales: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(len(scales), 1, dtype=scales.dtype, device="meta").to_empty(device="cpu")
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)
        self.network, self.start = (deepcopy(network).requires_grad_(False) for _ in range(2))
        for layer in linear_layers(self.network).values():
            layer.requires_grad_(True)
        self.register_buffer("scales", scales.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 1)."""
        scaled = inputs * self.get_buffer("scales")
        found: Tensor = self.linear(inputs) + self.network(scaled) - self.start(scaled)
        return found

    def prior_variances(self, numbers: PriorNumbers) -> Theta:
        """Of all parameters, in the order of `named_parameters`."""
        of_layers = {
            f"network.{name}": (v, 1.0 if i == 0 else float(layer.in_features))
            for i, (v, (name, layer)) in enumerate(
                zip(numbers.layers, linear_layers(self.network).items(), strict=True)
            )
        }
        of_layers["linear"] = (numbers.linear[0], float(self.linear.in_features))
        parts = list[Tensor]()
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                layer, kind = name.rsplit(".", 1)
                v, fan_in = of_layers[layer]
                of_bias = torch.ones_like(v) if layer == "linear" else v
                parts.append((v / fan_in if kind == "weight" else of_bias).expand(parameter.numel()))
        return torch.cat(parts)


class PlainNetwork(nn.Module):
    """The mean of several starts' branches for each output: raw numbers in, (n, d), raw numbers out, (n, Q).

    Args:
        branches: of each output, one for each start.
        inputs, targets: how columns were standardised.
    """

    def __init__(self, branches: Sequence[Sequence[Branch]], inputs: Standardised, targets: Standardised) -> None:
        super().__init__()
        self.outputs, self.n_starts = (
            nn.ModuleList(branch for starts in branches for branch in starts),
            len(branches[0]),
        )
        for name, of in (("input", inputs), ("target", targets)):
            self.register_buffer(f"{name}_mean", of.mean.clone())
            self.register_buffer(f"{name}_deviation", of.deviation.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, Q)."""
        z = (inputs - self.get_buffer("input_mean")) / self.get_buffer("input_deviation")
        found = torch.cat([branch(z) for branch in self.outputs], 1)
        mean = found.reshape(len(found), -1, self.n_starts).mean(2)
        return mean * self.get_buffer("target_deviation") + self.get_buffer("target_mean")


def most_probable(
    network: nn.Module,
    numbers: PriorNumbers,
    rows: FittedRows,
    output: int,
    *,
    settled: float = SETTLED_COST,
    most_steps: int = MOST_STEPS,
) -> Branch:
    """The minimum of `Σ w (y − x[θ])²/σ² + Σ (θ − θ₀)²/pv`, by damped Gauss–Newton from the start.

    A step of damping μ is `v = −(θ − θ₀)/c + P Dᵀ u/c`, `(D P Dᵀ/c + σ²/w) u = D (θ − θ₀)/c − (x − y)`, `P = diag(pv)`
    and c = 1 + μ: the flow adapted to the metric pv, stopped by its own prior. It goes by N × N matrices, where the
    rows of a prior as a block of a problem would ask for parameters × parameters.

    Args:
        output: the column of the targets.
        settled: relative fall of the objective by a step that ends the search.
        most_steps: end it too.

    Cost: N³ multiply-adds a step, 5 to 30 steps.
    """
    branch, y, noise = Branch(network, numbers.scales), rows.y[:, output], numbers.noise / rows.weights
    outputs = SampleMap(branch, rows.x)
    start, root = outputs.theta.clone(), branch.prior_variances(numbers).sqrt()

    def cost(theta: Theta) -> float:
        return float(((outputs(theta)[:, 0] - y).square() / noise).sum() + ((theta - start) / root).square().sum())

    theta, damping, least = start, 0.0, cost(start)
    for _ in range(most_steps):
        found, jacobian = outputs.linearise(theta)
        columns, apart, residual = jacobian.scaled(columns=root), (theta - start) / root, found.reshape(-1) - y
        gram, pulled = columns.gram(), columns.mv(apart)
        for _ in range(MOST_TRIALS):
            c = 1.0 + damping
            system = gram / c
            system.diagonal().add_(noise)
            u = torch.cholesky_solve((pulled / c - residual)[:, None], torch.linalg.cholesky(system))[:, 0]
            trial = theta + root * (columns.rmv(u) - apart) / c
            reached = cost(trial)
            if reached < least:
                break
            damping = max(DAMPING_AFTER_FAILURE, FACTOR_OF_DAMPING * damping)
        else:
            break
        fall, theta, least, damping = least - reached, trial, reached, _less(damping)
        if fall <= settled * least:
            break
    outputs.write(theta)
    return branch


def _less(damping: float) -> float:
    """After a step that was taken; none below a hundredth of the first."""
    less = damping / FACTOR_OF_DAMPING
    return less if less >= 0.01 * DAMPING_AFTER_FAILURE else 0.0
