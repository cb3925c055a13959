"""4: gradient descent with ELRA's rates beside Adam and the adapted flow, on four least-squares problems."""

import itertools
from collections.abc import Callable, Iterable

import torch
from study import COLOURS, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd

GRADIENTS = 2000  # at most, of each method
RATES = (1e-3, 1e-2, 1e-1)  # of Adam, the best is shown
ENOUGH = 1e-20
CONDITION, DIMENSIONS = 1e6, 1000


class Residuals(nn.Module):
    """`x = r(θ)`, (m,), of one sample."""

    def __init__(self, r: Callable[[Tensor], Tensor], start: Iterable[float]) -> None:
        super().__init__()
        self.r, self.theta = r, nn.Parameter(torch.tensor([*start], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """The same for every sample."""
        return self.r(self.theta).expand(len(x), -1)


def rosenbrock() -> nn.Module:
    """`r = (10(b − a²), 1 − a)` from (−1.2, 1)."""
    return Residuals(lambda t: torch.stack([10.0 * (t[1] - t[0] ** 2), 1.0 - t[0]]), (-1.2, 1.0))


def beale() -> nn.Module:
    """`r_i = c_i − a(1 − bⁱ)`, c = (1.5, 2.25, 2.625), from (1, 1)."""
    c, i = torch.tensor([1.5, 2.25, 2.625]).double(), torch.arange(1, 4)
    return Residuals(lambda t: c - t[0] * (1.0 - t[1] ** i), (1.0, 1.0))


def quadratic() -> nn.Module:
    """`r = √λ Uθ`, λ from 1 to the condition number by equal ratios, U a random rotation, from Uθ = (1, …, 1)."""
    root = torch.logspace(0.0, 0.5, DIMENSIONS, base=CONDITION, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS, generator=generator, dtype=torch.float64))[0]
    return Residuals(lambda t: root * (turn @ t), turn.sum(0).tolist())


def of_function(make: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, Tensor]:
    """The problem `r(θ) = 0`."""
    model, none = make(), torch.zeros(1, 1, dtype=torch.float64)
    return model, none, torch.zeros_like(model(none)).detach()


def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of 64-64-10 on 200 digits, K = 4,810 > m = 2,000."""
    return network(64, 64, 10), *table("digits", 200)


PROBLEMS = {
    "Rosenbrock": lambda: of_function(rosenbrock),
    "Beale": lambda: of_function(beale),
    "quadratic, 1000 dimensions, condition 1e6": lambda: of_function(quadratic),
    "digits, 64-64-10, 200 samples": digits,
}


def descended(problem: Callable[[], tuple[nn.Module, Tensor, Tensor]], make: Callable) -> list[float]:
    """The cost before each step of an optimizer of torch."""
    model, inputs, targets = problem()
    optimizer, costs = make(model.parameters()), list[float]()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (model(inputs) - targets).square().sum() / len(inputs)
        loss.backward()
        return loss

    while len(costs) < GRADIENTS and (not costs or costs[-1] > ENOUGH):
        costs.append(torch.as_tensor(optimizer.step(closure)).item())
    return costs


def fitted(problem: Callable[[], tuple[nn.Module, Tensor, Tensor]]) -> list[float]:
    """The cost at the accepted steps of a fit."""
    solution = gd.fit(*problem(), target_cost=ENOUGH, max_seconds=20.0)
    return [solution.cost0, *solution.history["cost"]]


def main() -> None:
    """One panel a problem, one line each."""
    figure, axes = panels(*PROBLEMS, rows=2)
    for (name, problem), panel in zip(PROBLEMS.items(), axes, strict=True):
        adams = {rate: descended(problem, lambda p, rate=rate: torch.optim.Adam(p, rate)) for rate in RATES}
        rate = min(adams, key=lambda r: (min(adams[r]) > ENOUGH, len(adams[r]), min(adams[r])))
        curves = {
            "ELRA p2min": descended(problem, lambda p: gd.optim.ELRA(p, variant="p2min")),
            "ELRA c2min": descended(problem, lambda p: gd.optim.ELRA(p, variant="c2min")),
            "Adam, the best of three rates": adams[rate],
            "gd.fit": fitted(problem),
        }
        for colour, (method, costs) in zip(COLOURS, curves.items(), strict=False):
            best = list(itertools.accumulate(costs, min))
            panel.loglog(range(1, len(best) + 1), [max(cost, 1e-22) for cost in best], color=colour, label=method)
        told = ", ".join(f"{method} {min(costs):.0e} in {len(costs)}" for method, costs in curves.items())
        print(f"{name}: {told}.".replace("the best of three rates", f"rate {rate:g},"))
        panel.set_xlabel("steps")
        panel.minorticks_off()
    name_lines(axes[2], loc="center right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
