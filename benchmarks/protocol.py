"""The protocol: which run comes next, given the lines that are there. Pure functions; no run is made here.

Every peer is swept on seed 0: its settings from torch's own start, then its best one from where `gd.initialise` leads;
the better of the two starts is kept. The final runs follow, seed after seed. To fit the table into five hours:

- The hardest target of a case is the smallest that any peer, geodescent left out, reaches on a majority of the seeds.
  One that some peer has reached already is `settled`: the case's hardest target can only be smaller.
- A peer that misses the settled target on a majority of the seeds has no median time to the hardest one, whatever the
  other seeds bring: they are left out. This changes no entry of the column "hardest target".
- A peer whose first final run ends more than `HOPELESS` times above the settled target gets no second one. This is a
  judgement, not a proof; the table shows its one cost and that it rests on one seed.
- Geodescent runs on every seed, and comes first in each case.
- Noisy cases are judged on held-out cost at a method's own stopping: all seeds for everyone, and 10 s a run. A peer's
  setting is chosen by the held-out cost itself, which favours the peers.
- Close relatives (sizes of one problem, two activations, two small tables) share the sweep of the first of them
  (`SWEPT_AT`).
- Runs end at their last target, when the method stops, or with the budget. A run that cannot be done (memory, no step
  in time, not built) gives its reason, and is not repeated on other seeds.

`gd.initialise` counts in geodescent's time, not in a peer's. A run's time ends where its own cost meets the target.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cases import CASES
from estimators import ESTIMATORS
from job import Job, key_of
from peers import PEERS, Peer, Setting
from recorder import TARGETS

Line = dict[str, Any]
HOPELESS = 1e2
SWEPT_AT = {
    "smooth2d-500-wide": "smooth2d-500",
    "smooth2d-1000": "smooth2d-500",
    "smooth2d-1000-wide": "smooth2d-500",
    "friedman-5000": "friedman-1000",
    "friedman-5000-noise": "friedman-1000-noise",
    "digits-relu": "digits-tanh",
    "breast_cancer": "wine",
}


@dataclass(frozen=True)
class Protocol:
    """Sizes of one set.

    Attributes:
        name: the lines lie in `<name>.jsonl`.
        cases, peers: those of the set.
        sweep_seconds, final_seconds, noisy_seconds: of one run.
        seeds: of the final runs; the sweep has seed 0.
        settings: at most so many of each sweep.
        estimators: whether scikit-learn's estimators are in the set.
    """

    name: str
    cases: tuple[str, ...]
    peers: tuple[str, ...]
    sweep_seconds: float
    final_seconds: float
    noisy_seconds: float
    seeds: int
    settings: int
    estimators: bool

    @property
    def majority(self) -> int:
        """More than half of the seeds."""
        return self.seeds // 2 + 1


FULL = Protocol("results", tuple(CASES), tuple(PEERS), 10.0, 20.0, 10.0, 5, 4, True)
QUICK = Protocol(
    "quick",
    ("sinc301", "smooth2d-500", "smooth4d", "friedman-1000", "diabetes"),
    ("geodescent", "torch-levenberg-marquardt", "optimistix", "scipy least_squares", "L-BFGS", "Adam"),
    sweep_seconds=1.0,
    final_seconds=4.0,
    noisy_seconds=2.0,
    seeds=3,
    settings=2,
    estimators=False,
)


def next_job(protocol: Protocol, lines: Sequence[Line], case: str, name: str, *, initialises: bool) -> Job | None:
    """The next run of a peer on a case; None where its entry is complete."""
    if name in ESTIMATORS:
        return next_estimator(protocol, lines, case, name)
    peer, done = PEERS[name], {key_of(line): line for line in lines}
    if peer.absent:
        return None
    sweep = next_sweep(protocol, done, SWEPT_AT.get(case, case), peer, initialises=initialises)
    if isinstance(sweep, Job):
        return sweep
    setting, start = sweep
    for seed in range(protocol.seeds):
        seconds = protocol.noisy_seconds if CASES[case].noisy else protocol.final_seconds
        job = job_of(protocol, "final", case, peer, setting, start, seed=seed, seconds=seconds)
        if job.key not in done and not decided(protocol, lines, case, peer):
            return job
    return None


def next_sweep(
    protocol: Protocol, done: dict[str, Line], case: str, peer: Peer, *, initialises: bool
) -> Job | tuple[Setting, str]:
    """The next run of the sweep, or the setting and the start that it chose."""
    if peer.ours:
        return peer.settings[0], "torch"
    found = list[Line]()
    for setting in peer.settings[: protocol.settings]:
        job = job_of(protocol, "sweep", case, peer, setting, "torch", seconds=protocol.sweep_seconds)
        if job.key not in done:
            return job
        found.append(done[job.key])
    best = min(found, key=lambda line: merit(case, line))
    if not initialises or not moved(best):
        return best["setting"], "torch"
    job = job_of(protocol, "sweep", case, peer, best["setting"], "initialise", seconds=protocol.sweep_seconds)
    if job.key not in done:
        return job
    best = min((best, done[job.key]), key=lambda line: merit(case, line))
    return best["setting"], best["start"]


def next_estimator(protocol: Protocol, lines: Sequence[Line], case: str, name: str) -> Job | None:
    """The next fit of an estimator: all seeds on noisy cases, one elsewhere; none after one that could not be done."""
    done = {key_of(line) for line in lines}
    mine = [line for line in lines if line["case"] == case and line["peer"] == name]
    failed = [line["setting"] for line in mine if "reason" in line]
    for seed in range(protocol.seeds if CASES[case].noisy else 1):
        for setting in ESTIMATORS[name].settings:
            job = Job("estimator", case, name, setting, seed, "torch", protocol.noisy_seconds, ())
            if job.key not in done and setting not in failed:
                return job
    return None


def job_of(
    protocol: Protocol,
    phase: str,
    case: str,
    peer: Peer,
    setting: Setting,
    start: str,
    *,
    seconds: float,
    seed: int = 0,
) -> Job:
    """A job of this protocol; a noisy case has no target to stop at."""
    return Job(phase, case, peer.name, setting, seed, start, seconds, () if CASES[case].noisy else TARGETS)


def decided(protocol: Protocol, lines: Sequence[Line], case: str, peer: Peer) -> bool:
    """Whether further seeds are left out, by the rules above."""
    runs = finals(lines, case, peer.name)
    if any(not moved(line) for line in runs):
        return True
    if peer.ours or CASES[case].noisy or not runs:
        return False
    target = settled_target(protocol, lines, case)
    if math.isinf(target):
        return False
    misses = sum(seconds_to(line, target) is None for line in runs)
    hopeless = len(runs) == 1 and best_cost(runs[0]) > HOPELESS * target
    return misses >= protocol.majority or hopeless


def settled_target(protocol: Protocol, lines: Sequence[Line], case: str) -> float:
    """The smallest target that any peer but ours has reached on a majority of the seeds; infinite where none has."""
    reached = [
        target
        for target in TARGETS
        for name in protocol.peers
        if not PEERS[name].ours
        and sum(seconds_to(line, target) is not None for line in finals(lines, case, name)) >= protocol.majority
    ]
    return min(reached, default=math.inf)


def finals(lines: Sequence[Line], case: str, name: str) -> list[Line]:
    """The final runs of a peer on a case."""
    return [line for line in lines if line["phase"] == "final" and line["case"] == case and line["peer"] == name]


def merit(case: str, line: Line) -> tuple[float, float]:
    """What the sweep minimises: time to the last target where it was met, else the best cost; under noise, held out."""
    if CASES[case].noisy:
        return (1.0, line.get("held_out") or math.inf) if moved(line) else (2.0, math.inf)
    seconds = seconds_to(line, TARGETS[-1])
    return (0.0, seconds) if seconds is not None else (1.0, best_cost(line))


def moved(line: Line) -> bool:
    """Whether at least one step was made within the budget."""
    return bool(line.get("steps"))


def best_cost(line: Line) -> float:
    """The best cost within the budget; infinite for a run that could not be done."""
    value = line.get("best_cost")
    return math.inf if value is None or not moved(line) else float(value)


def seconds_to(line: Line, target: float) -> float | None:
    """Seconds to a target, if it was met."""
    seconds = line.get("times", {}).get(f"{target:.0e}")
    return None if seconds is None else float(seconds)
