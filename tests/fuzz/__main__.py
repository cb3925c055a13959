"""`python -m fuzz`: many cases, or one that failed.

PYTHONPATH=tests python -m fuzz --cases 20000        # by seed of the day, in two processes
PYTHONPATH=tests python -m fuzz 20261126000017       # this case, with its traceback
PYTHONPATH=tests python -m fuzz --device cuda --cases 500
"""

import argparse
import multiprocessing
from collections import Counter
from functools import partial

import torch
from fuzz.run import chunk, first_seed, play

CHUNK = 100  # Cases that a process takes at a time.


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    asked = parser.parse_args()
    for seed in asked.seeds:
        print(seed, play(seed, asked.device), flush=True)
    if asked.seeds:
        return 0
    first, lines, seconds, seen = first_seed() + asked.skip, list[str](), Counter[str](), Counter[str]()
    print(f"fuzz: {asked.cases} cases from {first}", flush=True)
    chunks = [range(first + k, first + min(k + CHUNK, asked.cases)) for k in range(0, asked.cases, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
        for found, took, outcomes in pool.imap_unordered(partial(chunk, device=asked.device), chunks):
            lines += found
            seconds.update(took)
            seen.update(outcomes)
            print(*found, sep="\n", end="\n" if found else "", flush=True)
    for name, count in sorted(seen.items()):
        print(f"{name:<24}{count:>7}{seconds[name]:>9.1f} s")
    print(f"fuzz: {len(lines)} failures in {asked.cases} cases")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
