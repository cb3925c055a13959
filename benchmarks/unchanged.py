"""Whether a change of the code changed the numbers: every case, flow and certificate of one tree beside another's.

    python benchmarks/unchanged.py record old.jsonl          # with the package that is installed
    PYTHONPATH=OTHER/src python benchmarks/unchanged.py record new.jsonl
    PYTHONPATH=OTHER/src python benchmarks/unchanged.py shaken shaken.jsonl   # every damping one unit in the last place
    python benchmarks/unchanged.py compare old.jsonl new.jsonl [shaken.jsonl]

One seed of every case of `cases.py`, from `gd.initialise`; long ones are cut at a number of steps, so that what is
compared never depends on the machine's speed. The six flows are those of `foundation.py`; the certificates are of the
first samples of the cases, at torch's own start.

Long paths amplify rounding. How much is measured by the same fits with every damping raised by one unit in the last
place: what a case differs by there, no change of the order of sums can avoid.
"""

import hashlib
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from cases import CASES

HERE = Path(__file__).parent
SEED = 0
TARGET = 1e-20  # of the cost: where a case is cut if its steps do not end before
STEPS = {  # at which cases are cut that would take over ten seconds to the target
    "digits-conv": 30,
    "autoencoder": 40,
    "china": 60,
    "friedman-5000": 80,
    "friedman-5000-noise": 40,
}
MOST_STEPS = 400
CERTIFIED = 20  # certificates, of the first cases, …
SAMPLES = 120  # … on so many samples
DIGITS = 1e-12  # of C₀: down to this costs must agree to `SAME`; below, paths part by rounding
SAME, END = 1e-6, 3.0
SPREAD = 10.0  # times what rounding alone makes


def main(arguments: list[str]) -> None:
    """One of the verbs above."""
    verb, *rest = arguments
    {"record": record, "compare": compare, "shaken": shaken}[verb](*rest)


# --- recording ------------------------------------------------------------------------------------------------------


def record(file: str, *names: str) -> None:
    """Appends a line for each case, flow and certificate, or for those named."""
    torch.set_num_threads(2)
    jobs = [f"fit {name}" for name in CASES] + [f"flow {k}" for k in range(6)]
    jobs += [f"certify {name}" for name in list(CASES)[:CERTIFIED]]
    for job in names or jobs:
        line = measured(job)
        with Path(file).open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        print({key: value for key, value in line.items() if key not in ("costs", "certificate")}, flush=True)


def measured(job: str) -> dict[str, Any]:
    """The line of a job."""
    kind, name = job.split(" ", 1)
    return {"job": job} | {"fit": fitted, "flow": flowed, "certify": certified}[kind](name)


def fitted(name: str) -> dict[str, Any]:
    """A descent from the start chosen by the data."""
    import geodescent as gd

    task = CASES[name].task(SEED)
    begin = time.perf_counter()
    gd.initialise(task.model, task.inputs, task.targets)
    solution = gd.fit(task.model, task.inputs, task.targets, target_cost=TARGET, max_steps=STEPS.get(name, MOST_STEPS))
    seconds = float(solution.history["seconds"][-1])
    return {
        "cost0": solution.cost0,
        "cost": solution.cost,
        "result": solution.result.name,
        "steps": solution.steps,
        "iterations": solution.stats.get("iterations", 0),
        "solves": solution.stats.get("solves", 0),
        "theta": digest(torch.cat([p.detach().reshape(-1) for p in task.model.parameters()])),
        "costs": solution.history["cost"].tolist(),
        "descent_seconds": seconds,
        "seconds": time.perf_counter() - begin,
    }


def flowed(number: str) -> dict[str, Any]:
    """A flow of the page of what was measured, to τ = 7."""
    from foundation import DTYPE, flow_cases

    import geodescent as gd

    name, make, inputs, targets = flow_cases()[int(number)]
    torch.manual_seed(0)
    flow = gd.flow(make().to(DTYPE), inputs, targets, until=7.0)
    return {
        "case": name,
        "costs": flow.cost.tolist(),
        "rank": int(flow.rank.min()),
        "evaluations": flow.stats["evaluations"],
        "deviation": flow.max_relative_deviation,
        "seconds": flow.seconds,
    }


def certified(name: str) -> dict[str, Any]:
    """The certificate at torch's own start."""
    import geodescent as gd

    task = CASES[name].task(SEED)
    begin = time.perf_counter()
    certificate = gd.certify(task.model, task.inputs[:SAMPLES], task.targets[:SAMPLES], target_cost=1e-6)
    return {"certificate": certificate.as_dict(), "seconds": time.perf_counter() - begin}


def digest(theta: torch.Tensor) -> str:
    """A hash of all bits of θ."""
    return hashlib.sha256(theta.cpu().numpy().tobytes()).hexdigest()[:16]


def shaken(file: str, *names: str) -> None:
    """The same for the fits, with every damping raised by one unit in the last place."""
    try:
        from geodescent.descent import Linearised
    except ImportError:  # the package before it had rooms
        from geodescent._linearised import Linearised
    plain = Linearised.damped
    Linearised.damped = lambda self, damping: plain(self, math.nextafter(damping, math.inf))
    record(file, *(names or [f"fit {name}" for name in CASES]))


# --- comparing ------------------------------------------------------------------------------------------------------


def compare(old: str, new: str, shaken: str | None = None) -> None:
    """Prints a row for each job, and how many agree; with a third file, how many differ as by rounding alone."""
    before, after, rounding = read(old), read(new), read(shaken) if shaken else {}
    verdicts = Counter[str]()
    for job in before:
        if job in after:
            verdict = verdict_of(before[job], after[job])
            told = verdict.startswith("differs") and job in rounding
            if told and as_rounding(before[job], after[job], rounding[job]):
                verdict = f"rounding: {verdict}; shaken: {verdict_of(before[job], rounding[job])}"
            verdicts[verdict.split(":")[0]] += 1
            print(f"{job:32s} {verdict}")
    print(dict(verdicts))


def as_rounding(a: dict[str, Any], b: dict[str, Any], shaken: dict[str, Any]) -> bool:
    """As many steps to the level, the same result, and costs that differ no more than `SPREAD` times as by rounding."""
    steps = [level_of(line)[1] for line in (a, b)]
    off, by_rounding = (worst_above(a, line) for line in (b, shaken))
    return steps[0] == steps[1] and a["result"] == b["result"] and off <= SPREAD * by_rounding


def read(file: str) -> dict[str, dict[str, Any]]:
    """The last line of each job."""
    return {line["job"]: line for line in map(json.loads, Path(file).read_text().splitlines())}


def verdict_of(a: dict[str, Any], b: dict[str, Any]) -> str:
    """`equal`: bit by bit. `same`: by the rules for paths that rounding parts. `differs`, with what does."""
    ignored = {"seconds", "descent_seconds", "job"}
    keys = (set(a) | set(b)) - ignored
    if all(a.get(key) == b.get(key) for key in keys):
        return "equal"
    if "certificate" in a:  # of what both certificates say
        both = set(a["certificate"]) & set(b["certificate"])
        off = {key: (a["certificate"][key], b["certificate"][key]) for key in sorted(both)}
        off = {key: pair for key, pair in off.items() if pair[0] != pair[1]}
        return f"differs: {off}" if off else "equal"
    if "evaluations" in a:
        worst = worst_of(a["costs"], b["costs"], 0.0)
        return f"{'same' if len(a['costs']) == len(b['costs']) and worst <= SAME else 'differs'}: costs to {worst:.1e}"
    return descent_verdict(a, b)


def descent_verdict(a: dict[str, Any], b: dict[str, Any]) -> str:
    """As many steps to `DIGITS`·C₀ with the same costs up to there, the same result, an end within a factor `END`."""
    steps = [level_of(line)[1] for line in (a, b)]
    worst = worst_above(a, b)
    ends = max(a["cost"], b["cost"]) / max(min(a["cost"], b["cost"]), 1e-300)
    both_done = max(a["cost"], b["cost"]) <= TARGET
    fine = steps[0] == steps[1] and worst <= SAME and a["result"] == b["result"] and (ends <= END or both_done)
    told = f"steps to the level {steps[0]}, {steps[1]}; costs to {worst:.1e}; {a['result']}, {b['result']}; "
    return f"{'same' if fine else 'differs'}: {told}{a['cost']:.2e} in {a['steps']}, {b['cost']:.2e} in {b['steps']}"


def level_of(line: dict[str, Any]) -> tuple[float, int | None]:
    """`DIGITS`·C₀, and the first step below it."""
    level = DIGITS * line["cost0"]
    return level, next((i for i, c in enumerate(line["costs"]) if c <= level), None)


def worst_above(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest relative difference of costs up to the level."""
    level, steps = level_of(a)
    cut = min(len(a["costs"]), len(b["costs"])) if steps is None else steps
    return worst_of(a["costs"][:cut], b["costs"][:cut], level)


def worst_of(a: list[float], b: list[float], level: float) -> float:
    """The largest relative difference of two lists of costs above a level."""
    return max((abs(x - y) / max(abs(x), 1e-300) for x, y in zip(a, b, strict=False) if x > level), default=0.0)


if __name__ == "__main__":
    main(sys.argv[1:])
