"""The pieces of a step, measured: `python benchmarks/pieces.py [gram] [step] [small] [dense]`; two threads.

One JSON line a measurement is appended to pieces.jsonl beside this file, with the rate of a 1000 × 1000 product at its
start and the machine's load. What counts are the ratios within a line.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cases import mlp
from pairs import Pairs, exact_steps, interleaved

import geodescent as gd
from geodescent.linalg import cholesky

HERE = Path(__file__).parent
LINES = HERE / "pieces.jsonl"
THREADS, DTYPE, REPEATS = 2, torch.float64, 15
SMALL = (
    ((2, 32, 32, 1), 500),
    ((2, 64, 64, 1), 500),
    ((4, 32, 32, 1), 1000),
    ((1, 100, 1), 1000),
    ((2, 32, 32, 1), 100),
)


def main(arguments: list[str]) -> None:
    """Runs the sections that are named, all of them by default."""
    torch.set_num_threads(THREADS)
    for name in arguments or list(SECTIONS):
        SECTIONS[name]()


def gram() -> None:
    """Counted flops of the Gram matrix over its time, against a product of its own size in the same run."""
    widths, n = (8, 256, 256, 1), 4000
    jacobian = linearised(widths, n)[1]
    square = torch.randn(n, n, dtype=DTYPE)
    products, grams = list[float](), list[float]()
    for _ in range(5):
        products.append(seconds_of(lambda: square @ square))
        grams.append(seconds_of(jacobian.gram))
    flops = 2.0 * n * n * sum(a + b for a, b in pairwise(widths))  # 2N²d_in + 2m²d_out a layer
    rates = flops / median(grams) / 1e9, 2.0 * n**3 / median(products) / 1e9
    record("gram", case="8-256-256-1, m = 4000", gflops=rates[0], product=rates[1], ratio=rates[0] / rates[1])


def step() -> None:
    """One exact step in full-batch Adam steps, bare and as gd.fit takes it; 20 interleaved pairs each."""
    widths, n = (8, 256, 256, 1), 1000
    record("step", case="8-256-256-1, N = 1000, exact step", **in_adam_steps(exact_steps(n, widths, steps=21)))
    record("step", case="8-256-256-1, N = 1000, gd.fit", **in_adam_steps(interleaved(n, widths, steps=21)))


def small() -> None:
    """The same for small networks, and the milliseconds of each piece."""
    for widths, n in SMALL:
        name = f"{'-'.join(map(str, widths))}, N = {n}"
        record("small", case=f"{name}, exact step", **in_adam_steps(exact_steps(n, widths, steps=21)))
        record("small", case=f"{name}, pieces", **pieces(widths, n))


def dense() -> None:
    """The Gram matrix by layers against the product of rows that are formed once, where K is small."""
    for widths, n in SMALL[:4]:
        jacobian = linearised(widths, n)[1]
        by_layers, by_rows = alternate(jacobian.gram, lambda j=jacobian: rows_product(j))
        case = f"{'-'.join(map(str, widths))}, N = {n}, K = {jacobian.n_params}"
        record("dense", case=case, gram_ms=by_layers, rows_ms=by_rows, ratio=by_rows / by_layers)


SECTIONS: dict[str, Callable[[], None]] = {"gram": gram, "step": step, "small": small, "dense": dense}


def linearised(widths: tuple[int, ...], n: int) -> tuple[gd.SampleMap, gd.Jacobian]:
    """A network's output map on noise, and its Jacobian."""
    torch.manual_seed(0)
    outputs = gd.SampleMap(mlp(*widths).to(DTYPE), torch.randn(n, widths[0], dtype=DTYPE))
    return outputs, outputs.linearise()[1]


def pieces(widths: tuple[int, ...], n: int) -> dict[str, float]:
    """Median milliseconds of what a step is made of."""
    outputs, jacobian = linearised(widths, n)
    theta, matrix = outputs.theta, jacobian.gram()
    v, u, damping = torch.randn_like(theta), torch.randn(n, dtype=DTYPE), float(matrix.trace()) / n
    work = {
        "forward": lambda: outputs(theta),
        "linearise": lambda: outputs.linearise(theta),
        "gram": jacobian.gram,
        "factor": lambda: cholesky(matrix, damping=damping),
        "mv": lambda: jacobian.mv(v),
        "rmv": lambda: jacobian.rmv(u),
        "second": lambda: outputs.second_derivative(theta, v),
    }
    if jacobian.n_params < n:
        work["normal"] = jacobian.normal
    return {f"{name}_ms": alternate(piece)[0] for name, piece in work.items()}


def rows_product(jacobian: gd.Jacobian) -> torch.Tensor:
    """`DDᵀ` through D itself."""
    rows = jacobian.dense()
    return rows @ rows.T


def in_adam_steps(pairs: Pairs) -> dict[str, Any]:
    """A ratio, and the milliseconds behind it."""
    fit, adam = 1e3 * median(pairs.fit), 1e3 * median(pairs.adam)
    return {"ratio": pairs.ratio, "step_ms": fit, "adam_ms": adam, "pairs": len(pairs.fit)}


def alternate(*work: Callable[[], Any]) -> list[float]:
    """Median milliseconds of each, in turn, after one call that does not count."""
    rounds = [[seconds_of(piece) for piece in work] for _ in range(REPEATS + 1)][1:]
    return [1e3 * median(column) for column in zip(*rounds, strict=True)]


def seconds_of(work: Callable[[], Any]) -> float:
    """Of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def product_rate() -> float:
    """GF/s of a 1000 × 1000 float64 product, now."""
    a = torch.randn(1000, 1000, dtype=DTYPE)
    return 2e3 / alternate(lambda: a @ a)[0]


def record(section: str, *, file: Path = LINES, **figures: Any) -> None:
    """Appends one line to the file, and shows it."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout
    rounded = {k: float(f"{x:.4g}") if isinstance(x, float) else x for k, x in figures.items()}
    line = {"section": section, **rounded, "product_gflops": round(product_rate(), 1), "load": os.getloadavg()[0]}
    line |= {"commit": commit.strip(), "torch": torch.__version__, "python": platform.python_version()}
    line = {"dtype": "float64", "device": "cpu", "threads": torch.get_num_threads()} | line
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
