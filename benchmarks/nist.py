"""NIST's nonlinear regression problems (StRD): certified sums of squares and parameters, from both starts of each.

    python benchmarks/nist.py FOLDER [NAME ...]

FOLDER holds NIST's files, `Misra1a.dat` and so on; lmfit's source distribution has them in `NIST_STRD`. Each line: the
result, accepted steps, the relative error of the sum of squares, and the digits of the worst parameter,
−log₁₀|b/b_certified − 1|.
"""

import math
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import geodescent as gd

Formula = Callable[[Tensor, Tensor], Tensor]


def hahn(b: Tensor, x: Tensor) -> Tensor:
    """A quotient of cubics."""
    above = b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3
    return above / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def gauss(b: Tensor, x: Tensor) -> Tensor:
    """A decay and two peaks."""
    first = b[2] * torch.exp(-(((x - b[3]) / b[4]) ** 2))
    return b[0] * torch.exp(-b[1] * x) + first + b[5] * torch.exp(-(((x - b[6]) / b[7]) ** 2))


def lanczos(b: Tensor, x: Tensor) -> Tensor:
    """Three decays."""
    return b[0] * torch.exp(-b[1] * x) + b[2] * torch.exp(-b[3] * x) + b[4] * torch.exp(-b[5] * x)


def enso(b: Tensor, x: Tensor) -> Tensor:
    """A mean and three waves."""

    def wave(period: Tensor | float, cosine: Tensor, sine: Tensor) -> Tensor:
        angle = 2.0 * math.pi * x / period
        return cosine * torch.cos(angle) + sine * torch.sin(angle)

    return b[0] + wave(12.0, b[1], b[2]) + wave(b[3], b[4], b[5]) + wave(b[6], b[7], b[8])


FORMULAS: dict[str, Formula] = {
    "Misra1a": lambda b, x: b[0] * (1 - torch.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Chwirut1": lambda b, x: torch.exp(-b[0] * x) / (b[1] + b[2] * x),
    "Chwirut2": lambda b, x: torch.exp(-b[0] * x) / (b[1] + b[2] * x),
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "Lanczos1": lanczos,
    "Lanczos2": lanczos,
    "Lanczos3": lanczos,
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Gauss3": gauss,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Hahn1": hahn,
    "Thurber": hahn,
    "Nelson": lambda b, x: b[0] - b[1] * x[:, 0] * torch.exp(-b[2] * x[:, 1]),
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * torch.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * torch.exp(-x * b[3]) + b[2] * torch.exp(-x * b[4]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - torch.arctan(b[2] / (x - b[3])) / math.pi,
    "ENSO": enso,
    "BoxBOD": lambda b, x: b[0] * (1 - torch.exp(-b[1] * x)),
    "Rat42": lambda b, x: b[0] / (1 + torch.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + torch.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Eckerle4": lambda b, x: b[0] / b[1] * torch.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
}


@dataclass(frozen=True)
class Certified:
    """One problem: data, two starts, the certified parameters and sum of squares."""

    x: Tensor
    y: Tensor
    starts: tuple[Tensor, Tensor]
    best: Tensor
    sum_of_squares: float

    @classmethod
    def read(cls, path: Path) -> "Certified":
        """From a file of NIST."""
        lines = path.read_text().splitlines()
        rows = [line.split("=")[1].split() for line in lines[40:60] if re.match(r"\s*b\d+ =", line)]
        columns = torch.tensor([[float(number) for number in row] for row in rows], dtype=torch.float64).T
        (squares,) = (line.split(":")[1] for line in lines[40:60] if line.startswith("Residual Sum of Squares"))
        data = torch.tensor(
            [[float(n) for n in line.split()] for line in lines[60:] if line.strip()], dtype=torch.float64
        )
        y, x = data[:, 0], data[:, 1] if data.shape[1] == 2 else data[:, 1:]
        y = y.log() if path.stem == "Nelson" else y
        return cls(x, y, (columns[0], columns[1]), columns[2], float(squares))


def main() -> None:
    """A line for each run, and two of the sums."""
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(FORMULAS)
    squares_right, digits_right, steps = 0, 0, list[int]()
    for name in names:
        problem, formula = Certified.read(folder / f"{name}.dat"), FORMULAS[name]
        for number, start in enumerate(problem.starts, 1):
            outputs = gd.FunctionMap(lambda b, f=formula, x=problem.x: f(b, x), start)
            solution = gd.fit(gd.Problem.over(outputs, problem.y))
            off = 2.0 * len(problem.y) * solution.cost / problem.sum_of_squares - 1.0
            worst = float((solution.theta / problem.best - 1.0).abs().max())
            digits = 11.0 if worst < 1e-11 else -math.log10(worst)
            squares_right += off < 1e-6
            digits_right += digits >= 8.0
            steps.append(solution.steps)
            print(
                f"{name:9} {number}  {solution.result.name:15} {solution.steps:4d}  {off:9.1e}  {digits:5.1f}",
                flush=True,
            )
    print(f"{squares_right} of {len(steps)} sums of squares to 1e-6, {digits_right} with 8 digits in every parameter")
    print(f"steps: median {statistics.median(steps)}, most {max(steps)}")


if __name__ == "__main__":
    main()
