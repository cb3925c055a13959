"""The benchmark: `python benchmarks/run.py [--quick] [--plan] [--cases a,b] [--peers a,b]`.

Appends one JSON line a run to results.jsonl (or quick.jsonl) as it finishes. A run whose line is there is not made
again, so that an interrupted table goes on where it stopped; which run comes next is decided in protocol.py.
`--plan` prints the hours that the runs still missing will take, and makes none.
"""

import argparse
import math
from dataclasses import asdict, replace
from pathlib import Path

from estimators import ESTIMATORS
from isolation import line_of
from job import Job
from peers import JAX_PYTHON, PEERS
from protocol import FULL, HOPELESS, QUICK, Line, Protocol, best_cost, next_job, settled_target
from recorder import TARGETS, as_line
from results import HERE, read

import geodescent as gd

SECONDS_A_RUN, SECONDS_A_JAX_RUN = 0.7, 8.0  # start, warm-up, compilation: beside the method's own time


def main() -> None:
    """Runs what is missing, or says how long that will take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the quick set")
    parser.add_argument("--plan", action="store_true", help="print the time needed and stop")
    parser.add_argument("--cases", help="only these, separated by commas")
    parser.add_argument("--peers", help="only these, separated by commas")
    parser.add_argument("--threads", type=int, default=2, help="of each run; the table is made with 2")
    parser.add_argument("--lines", type=Path, help="another file for the lines")
    arguments = parser.parse_args()
    protocol = QUICK if arguments.quick else FULL
    cases = arguments.cases.split(",") if arguments.cases else list(protocol.cases)
    names = arguments.peers.split(",") if arguments.peers else names_of(protocol)
    file = arguments.lines or HERE / f"{protocol.name}.jsonl"
    if arguments.plan:
        return plan(protocol, read(file), cases, names)
    if not JAX_PYTHON.exists():
        raise SystemExit("the JAX peers have no environment yet: make bench or make bench-full sets it up.")
    for case in cases:
        for name in names:
            run(protocol, file, case, name, arguments.threads)


def names_of(protocol: Protocol) -> list[str]:
    """Peers, and estimators where they belong to the set."""
    return [*protocol.peers, *(ESTIMATORS if protocol.estimators else ())]


def run(protocol: Protocol, file: Path, case: str, name: str, threads: int) -> None:
    """All runs that an entry of the table still needs."""
    while job := next_job(protocol, read(file), case, name, initialises=initialises()):
        line = line_of(replace(job, threads=threads))
        with file.open("a") as lines:
            lines.write(as_line(line) + "\n")
        print(summary(line), flush=True)


def initialises() -> bool:
    """Whether this geodescent chooses starts."""
    return "initialise" in gd.__all__


def summary(line: Line) -> str:
    """One line for the terminal."""
    what = f"{line['phase']} {line['case']} | {line['peer']} {line['setting']} {line['start']} seed {line['seed']}"
    if "reason" in line:
        return f"{what}: {line['reason']}"
    if line["phase"] == "estimator":
        return f"{what}: held out {line['held_out']:.1e} in {line['seconds']:.1f} s"
    return f"{what}: {best_cost(line):.1e} in {line['seconds']:.1f} s, {line['steps']} steps, {line['result']}"


# --- the plan -------------------------------------------------------------------------------------------------------


def plan(protocol: Protocol, lines: list[Line], cases: list[str], names: list[str]) -> None:
    """Prints hours for two suppositions about the runs that are missing."""
    for near, words in (
        (0, f"every peer ends more than {HOPELESS:g} times above the settled target"),
        (2, "two peers a case fail only just: a majority of seeds to the end"),
        (len(names), "every peer does (an upper bound)"),
    ):
        count, seconds = supposed(protocol, list(lines), cases, names, near=near)
        print(f"{protocol.name}: {count} runs, {seconds / 3600:.2f} h, if {words}")


def supposed(
    protocol: Protocol, lines: list[Line], cases: list[str], names: list[str], *, near: int
) -> tuple[int, float]:
    """Runs and seconds, with made-up lines in the place of runs; they are never written."""
    count, seconds = 0, 0.0
    for case in cases:
        for place, name in enumerate(names):
            close = place < near + sum(other.ours for other in PEERS.values())
            leads = name == next(other for other in names if other in PEERS and not PEERS[other].ours)
            while job := next_job(protocol, lines, case, name, initialises=True):
                lines.append(made_up(job, leads=leads, close=close, target=settled_target(protocol, lines, case)))
                count, seconds = count + 1, seconds + supposed_seconds(job)
    return count, seconds


def made_up(job: Job, *, leads: bool, close: bool, target: float) -> Line:
    """The line of a run as supposed: geodescent meets the last target, the first other peer one in the middle.

    Of the others a close one fails only just, the rest by far.
    """
    ours = job.peer in PEERS and PEERS[job.peer].ours
    met = TARGETS if ours else TARGETS[: len(TARGETS) // 2] if leads else ()
    failed = 2.0 * target if close and math.isfinite(target) else 1.0
    times = {f"{t:.0e}": 5.0 for t in met}
    return asdict(job) | {"steps": 1, "times": times, "best_cost": min(met, default=failed), "held_out": 1.0}


def supposed_seconds(job: Job) -> float:
    """Estimators take 4 s, geodescent 6 s, everything else its budget."""
    if job.phase == "estimator":
        return 4.0
    peer = PEERS[job.peer]
    return (6.0 if peer.ours else job.budget) + (SECONDS_A_JAX_RUN if peer.in_jax else SECONDS_A_RUN)


if __name__ == "__main__":
    main()
