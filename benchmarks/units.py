"""Noise-free regression cases in other units: `python benchmarks/units.py [CASE ...]`; one thread, seed 0.

Inputs × 10^±6, targets × 10^±9 and + 10^4, each after `gd.initialise`: steps to `SHARE` of the best constants' cost,
beside those of the case itself, and the held-out error in units of it. A step more than 1.5 times as often is marked.
"""

import sys
from dataclasses import dataclass

import torch
from cases import CASES, Case

import geodescent as gd

SHARE = 1e-10  # of the cost of the best constants
MOST_STEPS, MOST_SECONDS = 400, 60.0
MOST = 1.5  # times the steps of the case itself


@dataclass(frozen=True)
class Units:
    """What inputs and targets are multiplied by, and what is added to the targets."""

    inputs: float = 1.0
    targets: float = 1.0
    shift: float = 0.0

    def __str__(self) -> str:
        return f"x × {self.inputs:.0e}, y × {self.targets:.0e} + {self.shift:.0e}"


OTHERS = (
    Units(inputs=1e6),
    Units(inputs=1e-6),
    Units(targets=1e9),
    Units(targets=1e-9),
    Units(shift=1e4),
)


def fitted(case: Case, units: Units) -> tuple[str, int, float]:
    """The result, its steps, and the held-out mean square over that of the targets' spread."""
    task = case.task(0)
    x, y = units.inputs * task.inputs, units.targets * task.targets + units.shift
    spread = 0.5 * float((y - y.mean(0)).square().sum()) / len(y)
    gd.initialise(task.model, x, y)
    solution = gd.fit(task.model, x, y, target_cost=SHARE * spread, max_steps=MOST_STEPS, max_seconds=MOST_SECONDS)
    with torch.no_grad():
        outputs = task.model(units.inputs * task.held_out_inputs)
    off = outputs - units.targets * task.held_out_targets - units.shift
    return solution.result.name, solution.steps, float(off.square().mean()) / spread


def main() -> None:
    """A line for each case and unit."""
    torch.set_num_threads(1)
    names = sys.argv[1:] or [name for name, case in CASES.items() if case.smooth or name == "teacher"]
    far = 0
    for name in names:
        result, plain, held = fitted(CASES[name], Units())
        print(f"{name:20} {'as it is':32} {result:15} {plain:4d}  {held:8.1e}", flush=True)
        for units in OTHERS:
            result, steps, held = fitted(CASES[name], units)
            mark = "" if result == "target_reached" and steps <= MOST * plain else "  <- far"
            far += bool(mark)
            print(f"{name:20} {units!s:32} {result:15} {steps:4d}  {held:8.1e}{mark}", flush=True)
    print(f"{far} of {len(names) * len(OTHERS)} took more than {MOST} times as many steps")


if __name__ == "__main__":
    main()
