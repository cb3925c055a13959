"""Two trees of the package in turns: seconds to the hardest target of every case, and the held-out cost there.

    python benchmarks/in_turns.py OLD/src NEW/src [CASE …]

One process for each tree, warm; a run is `gd.initialise` and `gd.fit` to the hardest target of RESULTS.md, on three
seeds, three times each. Noisy cases end at the method's own stopping, by validation, and are compared by the held-out
cost alone. A line for each case: median seconds of both, the geometric mean of new/old over pairs of neighbouring runs,
that of the held-out costs, the steps of both; then the means over all cases.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

import torch
from cases import CASES

HERE = Path(__file__).parent
SEEDS, REPEATS = range(3), 3
MOST_SECONDS = 25.0
LONG = 5.0  # Seconds: cases that take longer are run on each seed once.
LEAST = 1e-30  # Held-out costs are compared above this.


def main(old: str, new: str, *names: str) -> None:
    """The table of these cases, or of all."""
    targets, trees = hardest_targets(), [Tree(old), Tree(new)]
    seconds, held_out = list[float](), list[float]()
    print(f"{'case':20s} {'old':>7s} {'new':>7s} {'ratio':>6s} {'held out':>8s}  steps  GF/s")
    for name in names or CASES:
        target = 0.0 if CASES[name].noisy else targets[name]
        if target is not None:
            pairs = runs(trees, name, target)
            ratio, out = (geometric_mean(ratios(pairs, what)) for what in ("seconds", "held_out"))
            seconds += [] if CASES[name].noisy else [ratio]
            held_out.append(out)
            times = [median(pair[k]["seconds"] for pair in pairs) for k in (0, 1)]
            steps = [median(pair[k]["steps"] for pair in pairs) for k in (0, 1)]
            told = f"{steps[0]:.0f}, {steps[1]:.0f}  {product_rate():.0f}"
            print(f"{name:20s} {times[0]:7.3f} {times[1]:7.3f} {ratio:6.3f} {out:8.3f}  {told}", flush=True)
    print(f"{'geometric means':36s} {geometric_mean(seconds or [1.0]):6.3f} {geometric_mean(held_out):8.3f}")


def hardest_targets() -> dict[str, float | None]:
    """Case → target, of the first table of RESULTS.md; None where no peer reaches one."""
    rows = [[cell.strip() for cell in line.split("|")] for line in (HERE / "RESULTS.md").read_text().splitlines()]
    begin = next(i for i, row in enumerate(rows) if row[1:3] == ["case", "hardest target"])
    table = itertools.takewhile(lambda row: len(row) > 2, rows[begin + 2 :])
    return {row[1]: None if row[2] == "none reached" else float(row[2]) for row in table}


@dataclass
class Tree:
    """A process with the package of one tree."""

    source: str

    def __post_init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(self.source).resolve())}
        command = [sys.executable, __file__, "--worker"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=HERE)
        self.run("wine", 0, 1e-6)  # warm

    def run(self, name: str, seed: int, target: float) -> dict[str, float]:
        """Seconds, steps and held-out cost of one run."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, seed, target]) + "\n")
        self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer


def runs(trees: list[Tree], name: str, target: float) -> list[list[dict[str, float]]]:
    """Pairs of runs, old and new."""
    first = [[tree.run(name, seed, target) for tree in trees] for seed in SEEDS]
    if max(run["seconds"] for pair in first for run in pair) > LONG:
        return first
    return first + [[tree.run(name, seed, target) for tree in trees] for seed in SEEDS for _ in range(REPEATS - 1)]


def ratios(pairs: list[list[dict[str, float]]], what: str) -> list[float]:
    """new/old of each pair."""
    return [max(pair[1][what], LEAST) / max(pair[0][what], LEAST) for pair in pairs]


def worker() -> None:
    """Runs what is asked for, line by line."""
    import geodescent as gd

    torch.set_num_threads(2)
    for line in sys.stdin:
        name, seed, target = json.loads(line)
        task = CASES[name].task(seed)
        stop = "validation" if CASES[name].noisy else "cost"
        begin = time.perf_counter()
        gd.initialise(task.model, task.inputs, task.targets)
        fit = gd.fit(task.model, task.inputs, task.targets, target_cost=target, max_seconds=MOST_SECONDS, stop=stop)
        seconds = time.perf_counter() - begin
        with torch.no_grad():
            off = task.model(task.held_out_inputs) - task.held_out_targets
        held_out = float(off.double().square().sum()) / (2.0 * len(off))
        print(json.dumps({"seconds": seconds, "steps": fit.steps, "held_out": held_out}), flush=True)


def product_rate() -> float:
    """GF/s of a 1000 × 1000 float64 product, the best of five."""
    a, seconds = torch.randn(1000, 1000, dtype=torch.float64), list[float]()
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - begin)
    return 2.0 / min(seconds)


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["--worker"] else main(*sys.argv[1:])
