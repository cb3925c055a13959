"""One run: a job, and the line that it becomes."""

import copy
import json
import platform
import re
import resource
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from anytime_peers import OURS_AT_ANY_TIME
from cases import CASES, Task
from estimators import ESTIMATORS
from large_cases import LARGE
from peers import PEERS, Peer, Setting
from peers_first_order import cost
from recorder import FINE, THINNING, Recorder

import geodescent as gd

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")
EVERY_CASE, EVERY_PEER = CASES | LARGE, PEERS | OURS_AT_ANY_TIME
WARM_ROWS = 64  # Samples of the warm-up where a step on all of them may take minutes.
LEAST_GRADIENTS, LEAST_SECONDS = 5, 0.5  # Of which the unit of time is the median.


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes:
        phase: `sweep`, `final`, `estimator` or `anytime`.
        case, peer, setting, seed: what, and on which data.
        start: `torch`, or `initialise` for a peer that starts where `gd.initialise` leads.
        budget: of the method's own time, in units of `unit`.
        targets: the run ends at the last one; empty for a noisy case, where the method or the budget ends it.
        threads: of torch, BLAS and XLA.
        unit: `seconds`, or `gradients`: the time of one full-batch gradient, measured just before the run.
    """

    phase: str
    case: str
    peer: str
    setting: Setting
    seed: int
    start: str
    budget: float
    targets: tuple[float, ...]
    threads: int = 2
    unit: str = "seconds"

    @property
    def key(self) -> str:
        """Two jobs with the same key are the same run."""
        return key_of(asdict(self))


def key_of(line: dict[str, Any]) -> str:
    """The key of a job or of its line."""
    return json.dumps([line[name] for name in ("phase", "case", "peer", "setting", "seed", "start")], sort_keys=True)


def execute(job: Job) -> dict[str, Any]:
    """Runs a job in this process and returns its figures."""
    torch.set_num_threads(job.threads)
    rate, task = product_rate(), EVERY_CASE[job.case].task(job.seed)
    if job.phase == "estimator":
        return {"product_gflops": rate} | ESTIMATORS[job.peer].figures(task, job.setting, classes=classes(job.case))
    if job.start == "initialise":
        gd.initialise(task.model, task.inputs, task.targets)
    figures = {"product_gflops": rate, "cost0": cost_of(task), "n_params": n_params(task)}
    if job.unit == "gradients":
        figures["gradient_seconds"] = gradient_seconds(task)
        recorder = Recorder(budget=job.budget * figures["gradient_seconds"], targets=job.targets, thinning=FINE)
    else:
        recorder = Recorder(budget=job.budget, targets=job.targets, thinning=THINNING)
    figures |= {"n_residuals": task.targets.numel(), "model_dtype": str(task.inputs.dtype).removeprefix("torch.")}
    peer = EVERY_PEER[job.peer]
    try:
        warm_up(peer, task, job)
        torch.manual_seed(job.seed)
        recorder.start(figures["cost0"])
        peer.run(task, recorder, **job.setting)
    except Exception as error:
        recorder.over(in_short(error))
    seconds = recorder.elapsed()
    figures |= {"seconds": seconds, "cost": cost_of(task), "held_out": held_out_cost(task)}
    if classes(job.case):
        figures["held_out_accuracy"] = accuracy(task)
    if job.unit == "gradients":
        figures["gradient_seconds_after"] = gradient_seconds(task)
    figures |= {"peak_mb": peak_mb(), "float32_matmul_precision": torch.get_float32_matmul_precision()}
    return figures | recorder.figures()


def in_short(error: Exception) -> str:
    """An error in one line; torch's refusal of memory in its numbers."""
    asked = re.search(r"tried to allocate (\d+) bytes", str(error))
    if asked:
        return f"asks for {int(asked[1]) / 1e9:.0f} GB at once"
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def warm_up(peer: Peer, task: Task, job: Job) -> None:
    """One step on a copy: libraries loaded, code paths taken, nothing counted. JAX peers warm up where they compile."""
    if not peer.in_jax:
        rows = slice(WARM_ROWS if job.unit == "gradients" else None)
        twin = copy.deepcopy(replace(task, inputs=task.inputs[rows], targets=task.targets[rows]))
        recorder = Recorder(budget=0.0, targets=job.targets)
        recorder.start(0.0)
        peer.run(twin, recorder, **job.setting)


def classes(case: str) -> bool:
    """Whether the targets are classes, one-hot."""
    return case.startswith(("digits", "wine", "breast_cancer", "modular", "cnn1000"))


@torch.no_grad()
def cost_of(task: Task) -> float:
    """C of the model as it stands."""
    return cost(task.model, task.inputs, task.targets).item()


@torch.no_grad()
def held_out_cost(task: Task) -> float:
    """C on the data held out."""
    return cost(task.model, task.held_out_inputs, task.held_out_targets).item()


@torch.no_grad()
def accuracy(task: Task) -> float:
    """Share of held-out samples whose largest output is their class."""
    return (task.model(task.held_out_inputs).argmax(1) == task.held_out_targets.argmax(1)).double().mean().item()


def n_params(task: Task) -> int:
    """K."""
    return sum(p.numel() for p in task.model.parameters())


def peak_mb() -> float:
    """Largest resident memory of this process or of one it started, in MB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def product_rate() -> float:
    """GF/s of a 1000 × 1000 float64 product, now."""
    a, seconds = torch.randn(1000, 1000, dtype=torch.float64), list[float]()
    for _ in range(6):
        begin = time.perf_counter()
        torch.mm(a, a)
        seconds.append(time.perf_counter() - begin)
    return round(2.0 / median(seconds[1:]), 1)


def gradient_seconds(task: Task) -> float:
    """Median seconds of one full-batch gradient of the cost, now; the first one is not counted."""
    parameters, seconds, begin = list(task.model.parameters()), list[float](), time.perf_counter()
    while len(seconds) <= LEAST_GRADIENTS or time.perf_counter() - begin < LEAST_SECONDS:
        now = time.perf_counter()
        torch.autograd.grad(cost(task.model, task.inputs, task.targets), parameters)
        seconds.append(time.perf_counter() - now)
    return median(seconds[1:])


def environment(job: Job) -> dict[str, Any]:
    """Commit, versions and machine of a line."""
    names = (*PACKAGES, *(EVERY_PEER[job.peer].packages if job.peer in EVERY_PEER else ()))
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    return {"commit": commit(), "versions": versions, "device": "cpu", "dtype": "float64"}


def commit() -> str:
    """The short commit, with + where the sources differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=HERE).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "../src", "*.py") else "")
