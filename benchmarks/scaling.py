"""The cost of a step: of `gd.fit` against one full-batch Adam step, as N, K and Q grow.

`python benchmarks/scaling.py [FILE]` appends lines of phase `scaling` to FILE, by default results.jsonl. One step of
`gd.fit` is the time between two of its callbacks, so that rejected trials count; the Adam step is made inside the
callback, which interleaves the pairs.
"""

import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from job import Job, environment, product_rate
from pairs import interleaved
from recorder import as_line
from results import HERE, read

THREADS = 2
SERIES = {
    "N": ("N, with 8-64-64-1", [((n, (8, 64, 64, 1)), n) for n in (125, 250, 500, 1000, 2000, 4000)]),
    "K": ("K, with 8-w-w-1 and N = 500", [((500, (8, w, w, 1)), None) for w in (16, 32, 64, 128, 256, 512)]),
    "Q": ("Q, with 8-64-64-Q and N = 250", [((250, (8, 64, 64, q)), q) for q in (1, 2, 4, 8, 16)]),
}


def main(file: Path) -> None:
    """Measures the pairs at one size, then the three series; nothing where all of it is there already."""
    known = {line["what"] for line in read(file) if line["phase"] == "scaling"}
    if len(known) > len(SERIES):
        return
    torch.set_num_threads(THREADS)
    pairs = interleaved(1000, (8, 256, 256, 1), steps=21)
    milliseconds = [1e3 * median(part) for part in (pairs.fit, pairs.adam)]
    text = f"{pairs.ratio:.1f} Adam steps (median of {len(pairs.fit)} interleaved pairs; {milliseconds[0]:.1f} and "
    text += f"{milliseconds[1]:.1f} ms)"
    write(file, {"what": "One step of gd.fit at N = 1000, 8-256-256-1", "text": text, "ratio": pairs.ratio})
    for variable, (what, members) in SERIES.items():
        write(file, series(variable, what, members))


def series(variable: str, what: str, members: list[tuple[tuple[int, tuple[int, ...]], int | None]]) -> dict[str, Any]:
    """Median seconds at each size, and the exponents fitted to the upper half."""
    sizes, fits, adams = list[int](), list[float](), list[float]()
    for (n, widths), size in members:
        pairs = interleaved(n, widths, steps=7)
        sizes.append(size or sum(a * b + b for a, b in pairwise(widths)))
        fits.append(median(pairs.fit))
        adams.append(median(pairs.adam))
    exponents = {"fit_exponent": exponent(sizes, fits), "adam_exponent": exponent(sizes, adams)}
    text = f"exponent {exponents['fit_exponent']:.2f} (Adam: {exponents['adam_exponent']:.2f})"
    figures = {"variable": variable, "what": what, "text": text, "sizes": sizes}
    return figures | {"fit_seconds": fits, "adam_seconds": adams} | exponents


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log seconds over log size, on the upper half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])


def write(file: Path, figures: dict[str, Any]) -> None:
    """Appends one line with the machine's rate."""
    job = Job("scaling", "", "geodescent", {}, 0, "torch", 0.0, (), THREADS)
    line = {"phase": "scaling", "case": "", "peer": "geodescent", "setting": {}, "seed": 0, "start": "torch"}
    line |= {"threads": THREADS, "product_gflops": product_rate()} | environment(job) | figures
    with file.open("a") as lines:
        lines.write(as_line(line) + "\n")
    print(figures["what"], figures["text"], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results.jsonl")
