"""Whether `max_seconds` holds: twenty slow problems, each with six seconds, `print(solution)` included.

    python benchmarks/on_time.py [NAME …]

A table: seconds of `gd.fit` and of printing its solution, accepted steps, the cost before and after, why the run ended,
how many steps Adam takes in the same time, and the rate of a 1000 × 1000 float64 matrix product at that time. A line is
marked where the two take more than nine seconds, or where no step was accepted and Adam made fifty. Each problem has a
process of its own, which is ended after two minutes.
"""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from on_time_cases import CASES
from torch import Tensor

import geodescent as gd

ALLOWED, MOST, ENDED = 6.0, 9.0, 120.0  # seconds
ADAM_STEPS = 50


def main(names: list[str]) -> None:
    """The table of these cases, or of all."""
    print(f"{'case':16s} {'fit':>6s} {'print':>6s} {'steps':>5s} {'cost':>21s} {'Adam':>4s} {'GF/s':>5s}  result")
    bad = 0
    for name in names or list(CASES):
        line = measured(name)
        bad += line["bad"]
        print(line["text"], flush=True)
    print(f"{bad} of {len(names or CASES)} missed their time or took no step where Adam takes {ADAM_STEPS}")


def measured(name: str) -> dict[str, Any]:
    """The line of one case, from a process of its own."""
    try:
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENDED, check=False)
    except subprocess.TimeoutExpired:
        return {"bad": True, "text": f"{name:16s} ended after {ENDED:.0f} s  <-"}
    if done.returncode:
        return {"bad": True, "text": f"{name:16s} {done.stderr.strip().splitlines()[-1][:150]}  <-"}
    f = json.loads(done.stdout.splitlines()[-1])
    bad = f["fit"] + f["print"] > MOST or (f["steps"] < 1 and f["adam"] >= ADAM_STEPS)
    cost = f"{f['cost0']:.3g} -> {f['cost']:.3g}"
    text = f"{name:16s} {f['fit']:6.2f} {f['print']:6.2f} {f['steps']:5d} {cost:>21s} {f['adam']:4d} {f['rate']:5.1f}"
    return {"bad": bad, "text": f"{text}  {f['result']}{'  <-' * bad}"}


def one(name: str) -> None:
    """Prints the figures of one case."""
    torch.manual_seed(0)
    arguments, options, _, _ = CASES[name]()
    begin = time.perf_counter()
    solution = gd.fit(*arguments, max_seconds=ALLOWED, **options)
    fitted = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        print(solution)
    printed = time.perf_counter()
    print(said.getvalue(), solution.stats["notes"], file=sys.stderr)
    torch.manual_seed(0)
    figures = {
        "fit": fitted - begin,
        "print": printed - fitted,
        "steps": solution.steps,
        "cost0": solution.cost0,
        "cost": solution.cost,
        "adam": adam_steps(*CASES[name]()[2:]),
        "rate": product_rate(),
        "result": solution.result.name,
    }
    print(json.dumps(figures))


def adam_steps(loss: Callable[[], Tensor], parameters: list[Tensor]) -> int:
    """How many steps Adam takes in the time, fifty at most."""
    optimizer, begin = torch.optim.Adam(parameters), time.perf_counter()
    for step in range(ADAM_STEPS):
        if time.perf_counter() - begin > ALLOWED:
            return step
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return ADAM_STEPS


def product_rate() -> float:
    """Gigaflops a second of a 1000 × 1000 float64 matrix product."""
    a = torch.randn(1000, 1000, dtype=torch.float64)
    begin = time.perf_counter()
    for _ in range(3):
        a @ a
    return 6.0 / (time.perf_counter() - begin)


if __name__ == "__main__":
    one(sys.argv[2]) if sys.argv[1:2] == ["--one"] else main(sys.argv[1:])
