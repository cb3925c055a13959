"""3.1: fewer parameters than numbers to fit: which targets are out of reach, and where descent ends."""

from collections import Counter
from dataclasses import dataclass

import torch
from study import BLUE, GREEN, ORANGE, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd
from geodescent.constructive import separable

STARTS = 10
STEPS = 150  # of each descent
COMPONENTS = 5  # principal ones of wine: K = 108 < NQ = 534
LEAST = 1e-31  # where a cost of zero is drawn
SAMPLES, CLASSES, INPUTS = 10_000, 10, 20


@dataclass(frozen=True)
class End:
    """Where a descent ended; outside is the share of the cost that no infinitesimal motion removes, F/C."""

    cost: float
    result: gd.Result
    distance: float
    causes: frozenset[str]
    outside: float


def theta_of(model: nn.Module) -> Tensor:
    """θ, (K,)."""
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def ends(inputs: Tensor, targets: Tensor, known: Tensor) -> list[End]:
    """Descents from torch's starts; the distance is to the known minimiser, relative to its size."""
    found = list[End]()
    for seed in range(STARTS):
        model = network(*[COMPONENTS] * 4, 3, act=nn.ReLU, seed=seed)
        solution = gd.fit(model, inputs, targets, max_steps=STEPS)
        distance = float((theta_of(model) - known).norm() / known.norm())
        causes = frozenset(cause.kind for cause in solution.certificate.causes)
        outside = (solution.certificate.floor or 0.0) / solution.cost
        found.append(End(solution.cost, solution.result, distance, causes, outside))
    return found


def told(name: str, found: list[End]) -> None:
    """Costs, results, floors and causes of the ends."""
    costs = sorted(end.cost for end in found)
    results = ", ".join(f"{r.name} {n}" for r, n in Counter(end.result for end in found).most_common())
    causes = ", ".join(f"{c} {n}" for c, n in Counter(c for end in found for c in end.causes).most_common())
    outside = sorted(end.outside for end in found)
    print(
        f"{name}, {STARTS} starts: cost {costs[0]:.1e} to {costs[-1]:.1e}, median {costs[STARTS // 2]:.1e} ({results})."
    )
    print(
        f"  at least {min(end.distance for end in found):.2f}‖θ*‖ from what was written down; causes named: {causes};"
    )
    print(f"  outside range(D) lie {outside[0]:.4f} to {outside[-1]:.4f} of the cost.")


def many() -> None:
    """Ten thousand samples in ten classes of balls far apart, 4,410 parameters."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(SAMPLES) % CLASSES
    means = 8.0 * torch.randn(CLASSES, INPUTS, generator=generator, dtype=torch.float64)
    inputs = means[labels] + torch.randn(SAMPLES, INPUTS, generator=generator, dtype=torch.float64)
    net = separable(inputs, nn.functional.one_hot(labels).double())
    print(
        f"Written down for {SAMPLES} samples in {CLASSES} classes, K = {len(theta_of(net))}, NQ = {SAMPLES * CLASSES}: "
        f"largest error {net.report.error:.0e}."
    )


def main() -> None:
    """The ends of descents for both kinds of targets, beside what can be written down."""
    torch.set_num_threads(1)
    inputs, one_hot = table("wine")
    inputs = inputs @ torch.linalg.svd(inputs, full_matrices=False)[2][:COMPONENTS].T
    written = separable(inputs, one_hot)
    generic = torch.randn(one_hot.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many()
    print(
        f"Written down for wine's {COMPONENTS} components, K = {len(theta_of(written))}, NQ = {one_hot.numel()}: "
        f"largest error {written.report.error:.0e}, cost {written.report.cost:.0e}."
    )
    figure, (left, right) = panels(
        "cost where descent ended, sorted", "cost over the distance to what was written down"
    )
    for name, targets, colour in (("random targets", generic, ORANGE), ("one-hot targets", one_hot, BLUE)):
        found = ends(inputs, targets, theta_of(written))
        told(name, found)
        costs = sorted(max(end.cost, LEAST) for end in found)
        left.semilogy(range(1, STARTS + 1), costs, "o", color=colour, label=name)
        right.semilogy([end.distance for end in found], [max(e.cost, LEAST) for e in found], "o", color=colour)
    right.semilogy([0.0], [max(written.report.cost, LEAST)], "s", color=GREEN, label="written down, one-hot targets")
    left.set_xlabel("start")
    right.set_xlabel("‖θ − θ*‖/‖θ*‖")
    name_lines(left, loc="center left")
    name_lines(right, loc="center")
    save(figure, __file__)


if __name__ == "__main__":
    main()
