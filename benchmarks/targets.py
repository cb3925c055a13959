"""What is promised in seconds and digits, measured: `python benchmarks/targets.py [name ...]`; two threads.

One JSON line a measurement is appended to targets.jsonl beside this file, with the rate of a 1000 × 1000 product:
limits in seconds are those of a machine of 150 GF/s. "Defaults" is `gd.initialise` then `gd.fit`, neither with an
argument but the target and the seconds, both timed. `batches` and `rows` each want a fresh process.
"""

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from cases import CASES, Case, Task, mlp, on_interval, sinc
from pieces import record
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_levenberg_marquardt.training import LevenbergMarquardtModule

import geodescent as gd

HERE = Path(__file__).parent
LINES = HERE / "targets.jsonl"
SEEDS = range(5)
SINC500 = Case("sinc500", lambda seed: on_interval(sinc, 500, seed), lambda: mlp(1, 40, 40, 1), smooth=True)
GAINS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
PUBLISHED = 1.65e-7  # of sinc61


def main(arguments: list[str]) -> None:
    """Runs what is named, all of it by default."""
    torch.set_num_threads(2)
    for name in arguments or list(SECTIONS):
        for figures in SECTIONS[name]():
            record(name, file=LINES, **figures)


def sinc301() -> Iterator[dict[str, Any]]:
    """Maximum error ≤ 1e-11 within 10 s."""
    for seed in SEEDS:
        task = CASES["sinc301"].task(seed)
        figures = defaults(task, target=1e-24, seconds=10.0)
        yield figures | {"seed": seed, "max_error": float((outputs(task) - task.targets).abs().max())}


def smooth() -> Iterator[dict[str, Any]]:
    """Cost ≤ 1e-20: smooth2d in 4 s with a held-out cost ≤ 1e-14, smooth4d in 8 s, 1-40-40-1 on sinc in 6 s."""
    for case in (CASES["smooth2d-500"], CASES["smooth4d"], SINC500):
        for seed in SEEDS:
            task = case.task(seed)
            yield {"case": case.name, "seed": seed} | defaults(task, target=1e-20, seconds=20.0) | held_out(task)


def start() -> Iterator[dict[str, Any]]:
    """From torch's own start: cost ≤ 1e-12 within 5 s on every noise-free smooth case."""
    for case in (case for case in CASES.values() if case.smooth):
        for seed in SEEDS:
            task = case.task(seed)
            yield {"case": case.name, "seed": seed} | fitted(task, target=1e-12, seconds=15.0)


def full_rank() -> Iterator[dict[str, Any]]:
    """Fewer than 25 steps from C₀ to 1e-26 where σ_min/σ_max ≥ 1e-4."""
    for name, n in (("diabetes", 331), ("wine", 60), ("digits-tanh", 300)):
        for seed in SEEDS:
            task = CASES[name].task(seed)
            part = Task(task.inputs[:n], task.targets[:n], task.held_out_inputs, task.held_out_targets, task.model)
            certificate = gd.certify(part.model, part.inputs, part.targets)
            ratio = certificate.sigma_min / certificate.sigma_max
            yield {"case": name, "seed": seed, "sigma_ratio": ratio} | fitted(part, target=1e-26, seconds=60.0)


def single() -> Iterator[dict[str, Any]]:
    """float32: the cost at the end within ten times the rounding floor that the certificate gave beforehand."""
    for name, n in (("diabetes", 331), ("wine", 60), ("digits-tanh", 300)):
        for seed in SEEDS:
            task = CASES[name].task(seed)
            x, y, model = task.inputs[:n].float(), task.targets[:n].float(), task.model.float()
            floor = gd.certify(model, x, y).rounding_floor
            solution = gd.fit(model, x, y, max_seconds=30.0)
            yield {
                "case": name,
                "seed": seed,
                "dtype": "float32",
                "floor": floor,
                "cost": solution.cost,
                "ratio": solution.cost / floor,
            }


def control() -> Iterator[dict[str, Any]]:
    """Held-out cost against gain-ratio control's, at the same target and seconds: no more than 1.5 times it."""
    for case in (case for case in CASES.values() if not case.noisy):
        costs = list[float]()
        for chosen in (None, gd.Method(control=gd.GainRatio(), walk=gd.GeodesicWalk())):
            task = case.task(0)
            gd.initialise(task.model, task.inputs, task.targets)
            gd.fit(task.model, task.inputs, task.targets, target_cost=1e-20, max_seconds=10.0, method=chosen)
            costs.append(held_out(task)["held_out"])
        yield {"case": case.name, "held_out": costs[0], "by_gain_ratio": costs[1], "ratio": costs[0] / costs[1]}


def gains() -> Iterator[dict[str, Any]]:
    """Held-out cost from the start picked by leave-one-out against the best of six gains of the first layer.

    Smooth cases are fitted to the end: at a target held-out costs would tell where the last step happened to land. The
    error's ratio, root mean squares, is the root of the cost's.
    """
    for name, target in (("smooth2d-500", 0.0), ("smooth4d", 0.0), ("digits-tanh", 1e-12)):
        for seed in SEEDS:
            found = dict[float, float]()
            for gain in GAINS:
                task = CASES[name].task(seed)
                scale(task.model, gain)
                fitted(task, target=target, seconds=10.0)
                found[gain] = held_out(task)["held_out"]
            task = CASES[name].task(seed)
            defaults(task, target=target, seconds=10.0)
            picked, best = held_out(task)["held_out"], min(found.values())
            by_gain = {str(gain): value for gain, value in found.items()}
            ratio = picked / best
            yield {
                "case": name,
                "seed": seed,
                "target": target,
                "picked": picked,
                "ratio": ratio,
                "error_ratio": math.sqrt(ratio),
            } | by_gain


def batches() -> Iterator[dict[str, Any]]:
    """sinc61 in float32 by batches of 1,000: seconds to the published C, ours and torch-levenberg-marquardt's."""
    for seed in SEEDS:
        ours, theirs = by_batches(seed), by_batches_of_peer(seed)
        yield {"seed": seed, "dtype": "float32", "seconds": ours, "peer_seconds": theirs, "ratio": ours / theirs}


def rows() -> Iterator[dict[str, Any]]:
    """A million rows from a loader below 1 GB."""
    torch.manual_seed(0)
    x = torch.rand(1_000_000, 4) * 2.0 - 1.0
    y = torch.tanh(x @ torch.randn(4, 1))
    loader = DataLoader(TensorDataset(x, y), batch_size=1000, shuffle=True)
    solution = gd.fit(mlp(4, 32, 1), loader, max_steps=200)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    yield {
        "dtype": "float32",
        "cost": solution.cost,
        "cost0": solution.cost0,
        "seconds": solution.seconds,
        "peak_gb": peak,
    }


def digits() -> Iterator[dict[str, Any]]:
    """The command on digits: cost ≤ 1e-12, accuracy ≥ 0.985 (median), within 30 s, below 1.5 GB.

    All seeds before the first line: this process's own threads would spin beside the command.
    """
    yield from [by_command(seed) for seed in SEEDS]


SECTIONS: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "sinc301": sinc301,
    "smooth": smooth,
    "start": start,
    "full_rank": full_rank,
    "single": single,
    "control": control,
    "gains": gains,
    "batches": batches,
    "rows": rows,
    "digits": digits,
}


def defaults(task: Task, *, target: float, seconds: float) -> dict[str, Any]:
    """`gd.initialise`, then `gd.fit`, both timed."""
    begin = time.perf_counter()
    gd.initialise(task.model, task.inputs, task.targets)
    spent = time.perf_counter() - begin
    return fitted(task, target=target, seconds=seconds - spent, spent=spent)


def fitted(task: Task, *, target: float, seconds: float, spent: float = 0.0) -> dict[str, Any]:
    """Seconds to the last step, steps, cost and result; what follows the last step is not counted."""
    begin, last = time.perf_counter(), [0.0]

    def callback(step: Any) -> None:
        last[0] = time.perf_counter() - begin

    solution = gd.fit(task.model, task.inputs, task.targets, target_cost=target, max_seconds=seconds, callback=callback)
    return {
        "cost": solution.cost,
        "seconds": spent + last[0],
        "steps": solution.steps,
        "result": solution.result.name,
    }


def held_out(task: Task) -> dict[str, float]:
    """C of the data held out."""
    with torch.no_grad():
        residual = task.model(task.held_out_inputs) - task.held_out_targets
    return {"held_out": float(residual.square().sum() / (2 * len(residual)))}


def outputs(task: Task) -> Tensor:
    """Of the data fitted."""
    with torch.no_grad():
        return task.model(task.inputs)


def scale(model: nn.Module, gain: float) -> None:
    """Multiplies the first layer's weight and bias."""
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight *= gain
        first.bias *= gain


def by_batches(seed: int) -> float:
    """Seconds of `gd.fit` over a loader until C of everything is at the published one; infinite after 60 s."""
    task = CASES["sinc61"].task(seed)
    loader = loader_of(task)
    begin = time.perf_counter()
    solution = gd.fit(task.model.float(), loader, target_cost=PUBLISHED, max_steps=4000, max_seconds=60.0)
    return time.perf_counter() - begin if solution.cost <= PUBLISHED else float("inf")


def by_batches_of_peer(seed: int) -> float:
    """The same with the peer's defaults, C of everything measured once a pass and not counted."""
    task = CASES["sinc61"].task(seed)
    model, x, y = task.model.float(), task.inputs.float(), task.targets.float()
    stepper, spent = LevenbergMarquardtModule(model), 0.0
    while spent < 60.0:
        begin = time.perf_counter()
        for inputs, targets in loader_of(task):
            stepper.training_step(inputs, targets)
        spent += time.perf_counter() - begin
        with torch.no_grad():
            if float((model(x) - y).square().sum()) / (2 * len(x)) <= PUBLISHED:
                return spent
    return float("inf")


def loader_of(task: Task) -> "DataLoader[Any]":
    """Batches of 1,000, drawn anew each pass."""
    return DataLoader(TensorDataset(task.inputs.float(), task.targets.float()), batch_size=1000, shuffle=True)


def by_command(seed: int) -> dict[str, Any]:
    """What `geodescent fit digits --json` says of itself; its run folder is not kept."""
    begin = time.perf_counter()
    command = [Path(sys.executable).with_name("geodescent"), "fit", "digits", "--seed", str(seed), "--json"]
    with tempfile.TemporaryDirectory() as folder:
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout)
    return {"seed": seed, "seconds": time.perf_counter() - begin} | numbers(answer, ("cost", "accuracy", "peak"))


def numbers(answer: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """The numbers of a JSON answer whose keys hold one of these names."""
    found = dict[str, float]()
    for key, value in answer.items():
        if isinstance(value, dict):
            found |= numbers(value, names)
        elif isinstance(value, int | float) and any(name in key for name in names):
            found[key] = value
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
