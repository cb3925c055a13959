"""Rows of the table in docs/routes.md: networks of known sizes, and what `gd.plan` says of them.

`python tests/support/crossovers.py` writes the table anew. Seconds are those of the machine that it was made on.
"""

import itertools
import re
from pathlib import Path

import torch
from torch import Tensor, nn

import geodescent as gd

PAGE = Path(__file__).parents[2] / "docs" / "routes.md"
BEGIN, END = "<!-- plans: begin (generated) -->", "<!-- plans: end -->"
HEAD = "| network | N | Q | rows m | parameters K | positions P | first steps | last steps | first, in gradients |"
CASES = (
    ("2-50-1", 100),
    ("1-20-20-1", 400),
    ("3-30-1", 5000),
    ("8-64-64-1", 1000),
    ("20-60-60-30", 60),
    ("conv 8×8", 300),
    ("64-256-256-10", 1347),
)
"""Networks by their widths, and N; one with two convolutions of 8 × 8 pixels."""


def network(name: str) -> tuple[nn.Module, tuple[int, ...], int]:
    """The network, the shape of an input, and Q."""
    torch.manual_seed(0)
    if name.startswith("conv"):
        layers = nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 16, 3, stride=2), nn.Tanh(), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(144, 10)).double(), (1, 8, 8), 10
    widths = list(map(int, name.split("-")))
    parts = list[nn.Module]()
    for a, b in itertools.pairwise(widths):
        parts += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*parts[:-1]).double(), (widths[0],), widths[-1]


def planned(name: str, n: int) -> gd.Plan:
    """The plan of this network for N samples of noise."""
    model, shape, q = network(name)
    draw = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=draw, dtype=torch.float64)

    return gd.plan(model, normal(n, *shape), normal(n, q))


def row(name: str, n: int) -> list[str]:
    """The cells of a case; the last is measured."""
    found = planned(name, n)
    positions = max(layer.positions or 1 for layer in found.layers)
    first, last = found.first, found.stages[-1]
    sizes = [found.n_samples, found.n_outputs, found.n_residuals, found.n_params, positions]
    gradients = "" if first.step.gradients is None else f"{first.step.gradients:.2g}"
    kinds = [f"{stage.solves}; on {stage.on}" for stage in (first, last)]
    return [name, *(f"{size:,}" for size in sizes), kinds[0], "the same" if first is last else kinds[1], gradients]


def shown() -> list[list[str]]:
    """The cells of the page."""
    table = PAGE.read_text().split(BEGIN)[1].split(END)[0].strip().splitlines()
    assert table[0] == HEAD
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def main() -> None:
    """Writes the table."""
    rows = ["| " + " | ".join(row(*case)) + " |" for case in CASES]
    table = "\n".join([HEAD, "|" + "---|" * HEAD.count(" | ") + "---|", *rows])
    text = PAGE.read_text()
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", f"{BEGIN}\n{table}\n{END}", text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
