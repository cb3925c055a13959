"""Cost against time on the large cases: `python benchmarks/anytime.py [--cases a,b] [--peers a,b] [--seeds N]`.

Appends one JSON line a run to anytime.jsonl as it finishes; a run whose line is there is not made again. Then
anytime_page.py makes the page, the figure and the tables elsewhere.

- The unit of time is one full-batch gradient of the cost, forward and backward: its median time, measured in the
  process of each run just before it, which sets the budget, and just after it. A run and its unit so share the load
  of the machine.
- Ours is what people call: `gd.fit(model, X, y, max_seconds=…)` from torch's own start, all that happens before the
  first step included; and once more after `gd.initialise`, whose time counts too.
- A peer is the least cost of all its runs at each moment: every setting, and where the rate falls by a cosine also
  runs of 60 and of 240 gradients. The settings that make up its curve on seed 0 are run on the other seeds. After a
  run that could not be done, as for want of memory, the peer's others on that case are left out.
- Peers take turns, seed after seed; ours is the first and the last of each seed. What Adam in batches costs on all
  samples is read off the clock.
- The newest line of a run counts. `--again` makes runs once more whose lines are there, as after a change of ours;
  `--calm F` those during which the unit of time changed by more than a factor of F, as on a machine that others use.
"""

import argparse
import math
from dataclasses import asdict
from pathlib import Path

import torch
from anytime_curves import Curve, at, envelope, falling
from anytime_peers import FIRST, LAST, SETTINGS, spans
from isolation import line_of
from job import EVERY_PEER, Job, gradient_seconds, key_of
from large_cases import LARGE
from peers import JAX_PYTHON
from protocol import Line, moved
from recorder import TARGETS, as_line
from results import HERE, read
from run import summary

SEEDS = 3
BUSY = 2.0  # Times slower than just before: a run on a busy machine is waited for as long as that.
FILE = HERE / "anytime.jsonl"


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(LAST), help="only these, separated by commas")
    parser.add_argument("--peers", default="", help="only these, separated by semicolons: some names have a comma")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="so many")
    parser.add_argument("--threads", type=int, default=2, help="of each run; the page is made with 2")
    parser.add_argument("--lines", type=Path, default=FILE, help="another file for the lines")
    parser.add_argument("--again", action="store_true", help="also what is there")
    parser.add_argument("--calm", type=float, default=math.inf, help="also where the unit changed by more than this")
    arguments = parser.parse_args()
    names = arguments.peers.split(";") if arguments.peers else list(SETTINGS)
    if "kfac-jax" in names and not JAX_PYTHON.exists():
        raise SystemExit("kfac-jax has no environment yet: make anytime sets it up.")
    torch.set_num_threads(arguments.threads)
    calm = 0.0 if arguments.again else arguments.calm
    for case in arguments.cases.split(","):
        for seed in range(arguments.seeds):
            for name in names:
                run(arguments.lines, wanted(case, name, seed, arguments.threads), calm)


def run(file: Path, jobs: list[Job], calm: float) -> None:
    """Makes those of these runs of a peer that are missing and of use; 0 for `calm` makes all of them."""
    begun = len(read(file))
    for job in jobs:
        lines = read(file)
        done = {identity(line): line for line in lines}.get(identity(asdict(job)))
        if (done and (lines.index(done) >= begun or unrest(done) <= calm)) or not of_use(lines, job):
            continue
        unit = gradient_seconds(LARGE[job.case].task(job.seed))
        line = line_of(job, unit_seconds=BUSY * unit)
        with file.open("a") as out:
            out.write(as_line(line) + "\n")
        print(f"{job.budget:g} gradients of {line.get('gradient_seconds', unit):.2g} s,", summary(line), flush=True)


def wanted(case: str, name: str, seed: int, threads: int) -> list[Job]:
    """All runs of a peer on a case and a seed, the longest first."""
    return [
        Job("anytime", case, name, setting, seed, "torch", span, TARGETS, threads, "gradients")
        for span in reversed(spans(case, name))
        for setting in SETTINGS[name]
    ]


def identity(line: Line) -> tuple[str, float, int]:
    """Two runs with the same are the same run."""
    return key_of(line), line["budget"], line["threads"]


def unrest(line: Line) -> float:
    """The factor by which the unit of time changed during a run; 1 where there was none."""
    before, after = line.get("gradient_seconds"), line.get("gradient_seconds_after")
    return max(before / after, after / before) if before and after else 1.0


def of_use(lines: list[Line], job: Job) -> bool:
    """Whether a run may tell something that the lines do not."""
    if EVERY_PEER[job.peer].ours:
        return True
    mine = list({identity(x): x for x in lines if (x["case"], x["peer"]) == (job.case, job.peer)}.values())
    first = [line for line in mine if line["seed"] == 0 and line["threads"] == job.threads]
    if job.seed == 0 or not first:
        return not any(map(cannot, mine))
    return (job.setting, job.budget) in useful(first, LAST[job.case])


def cannot(line: Line) -> bool:
    """Whether a run could not be done at all."""
    return "reason" in line or (not moved(line) and line["result"] != "not finite")


def useful(runs: list[Line], last: int) -> list[tuple[dict, float]]:
    """Setting and budget of the runs that are the best of these at some moment."""
    curves = [curve_of(run) for run in runs]
    best = envelope(curves)
    times = [FIRST, *(time for time, _ in best if FIRST < time <= last)]
    holders = [min(range(len(runs)), key=lambda k: at(curves[k], time)) for time in times]
    return [(runs[k]["setting"], runs[k]["budget"]) for k in sorted(set(holders)) if moved(runs[k])]


def curve_of(line: Line) -> Curve:
    """Cost against time in gradients; empty where there was no run."""
    return falling([(seconds / unit_of(line), cost) for seconds, cost in line.get("trace", [])])


def unit_of(line: Line) -> float:
    """Seconds of a gradient: the geometric mean of those before and after the run."""
    return math.sqrt(line["gradient_seconds"] * line["gradient_seconds_after"])


if __name__ == "__main__":
    main()
