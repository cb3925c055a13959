"""A system as it is printed: what it asks for, and a line for each term."""

import textwrap
from typing import Protocol

from geodescent.pde._boxes import PRINTED_WIDTH, shortened
from geodescent.pde._terms import PRINTED_NAME
from geodescent.problem import Problem

PRINTED_TERMS = 12  # Lines: a system of more terms is printed with its first ones.


class PrintedSystem(Protocol):
    """What is read of a system."""

    coordinates: tuple[str, ...]
    fields: tuple[str, ...]
    unknowns: tuple[str, ...]

    def problem(self) -> Problem:
        """With a block for each term."""
        ...


def printed_system(system: PrintedSystem) -> str:
    """Fields, coordinates, unknowns and the number of parameters; of each term its points, equations and weight."""
    problem = system.problem()
    unknown = f", {', '.join(system.unknowns)} unknown" if system.unknowns else ""
    head = f"System of {', '.join(system.fields)} in {', '.join(system.coordinates)}{unknown}: "
    lines = textwrap.wrap(f"{head}{len(problem.theta):,} parameters", PRINTED_WIDTH, subsequent_indent="  ")
    shown = problem.blocks[:PRINTED_TERMS]
    names = [shortened(block.name, PRINTED_NAME) for block in shown]
    rows = [f"{block.target.numel():,}" for block in shown]
    widths = [max(map(len, column)) for column in (names, rows)]
    for block, name, n in zip(shown, names, rows, strict=True):
        measured = ", measured" if block.name in problem.measured else ""
        row = "row, " if n == "1" else "rows,"
        lines.append(f"  {name:<{widths[0]}}  {n:>{widths[1]}} {row} weight {block.weight:.4g}{measured}")
    left = len(problem.blocks) - len(shown)
    return "\n".join([*lines, *([f"  … and {left} more"] if left else [])])
