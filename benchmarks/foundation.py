"""The figures of docs/measured.md: `python benchmarks/foundation.py [gram] [flow] [digits] [--table]`.

One JSON line a run is appended to foundation.jsonl beside this file, with the matrix-product rate measured beside it
(before the run; of digits after the last one); `--table` writes its table from the lines and measures
nothing.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from readme import MEASURED, put
from sklearn import datasets
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

import geodescent as gd

HERE = Path(__file__).parent
LINES = HERE / "foundation.jsonl"
DTYPE = torch.float64


def main(arguments: list[str]) -> None:
    """Runs the sections that are named, all of them by default."""
    if "--table" not in arguments:
        for name in arguments or list(SECTIONS):
            SECTIONS[name]()
    write_table()


# --- sections -------------------------------------------------------------------------------------------------------


def gram() -> None:
    """The Gram matrix by layers against vmap(jacrev) and a product, and one that only fits by layers."""
    outputs = gd.SampleMap(mlp(784, 512, 512, 10), torch.randn(600, 784, dtype=DTYPE))
    theta = outputs.theta
    seconds, _ = timed(lambda: outputs.linearise(theta)[1].gram())
    record(
        "large gram", case="784-512-512-10, N = 600, m = 6,000: D would take 32 GB", seconds=seconds, peak_mb=peak_mb()
    )
    for name, net, inputs, repeats in (
        ("8-256-256-1, N = 1000", mlp(8, 256, 256, 1), torch.randn(1000, 8, dtype=DTYPE), 5),
        ("conv 1×16×16, 2 × 16 channels, N = 200, Q = 10", conv_net(), torch.randn(200, 1, 16, 16, dtype=DTYPE), 3),
    ):
        outputs = gd.SampleMap(net, inputs)
        theta = outputs.theta
        ours, theirs, error = list[float](), list[float](), 0.0
        for _ in range(repeats):
            seconds, by_layers = timed(lambda o=outputs, t=theta: o.linearise(t)[1].gram())
            ours.append(seconds)
            seconds, by_d = timed(lambda n=net, x=inputs: naive_gram(n, x))
            theirs.append(seconds)
            error = float((by_layers - by_d).norm() / by_d.norm())
        record("gram", case=name, seconds=median(ours), naive_seconds=median(theirs), relative_error=error)


def flow() -> None:
    """Measured against predicted cost along the flow, default settings, on real data of full rank."""
    for name, make, inputs, targets in flow_cases():
        torch.manual_seed(0)
        model = make().to(DTYPE)
        result = gd.flow(model, inputs, targets, until=13.9)
        deviation = np.abs(result.cost / result.predicted_cost - 1.0)
        fall = result.cost / result.cost0
        residual = model(inputs).detach().reshape(targets.shape) - targets
        again = 0.5 * float(residual.square().sum()) / len(inputs)
        record(
            "flow",
            case=name,
            n_residuals=targets.numel(),
            to_1e8=float(deviation[fall >= 1e-8].max()),
            to_1e12=float(deviation[fall >= 1e-12].max()),
            end_fall=float(fall[-1]),
            recomputed=abs(again / float(result.cost[-1]) - 1.0),
            rank=int(result.rank.min()),
            seconds=result.seconds,
        )


def digits() -> None:
    """The job of `make demo`, seeds 0 to 4 for split and start, each a process of its own.

    All before the first line: this process's own threads would spin beside them.
    """
    folder, found = tempfile.mkdtemp(), list[dict[str, Any]]()
    for seed in range(5):
        command = [str(Path(sys.executable).with_name("geodescent")), "fit", "digits", "--seed", str(seed), "--json"]
        command += ["--out", f"{folder}/{seed}"]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout.splitlines()[-1])
        kept = {key: answer[key] for key in ("cost", "cost0", "result", "steps", "seconds", "peak_mb")}
        whole = time.perf_counter() - begin
        found.append({"case": f"seed {seed}", "accuracy": answer["test"]["accuracy"], "whole_seconds": whole} | kept)
    for figures in found:
        record("digits", **figures)


SECTIONS: dict[str, Callable[[], None]] = {"gram": gram, "flow": flow, "digits": digits}


# --- cases ----------------------------------------------------------------------------------------------------------


def mlp(*sizes: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """A multilayer perceptron of these sizes, float64."""
    layers = list[nn.Module]()
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1]).to(DTYPE)


def conv_net() -> nn.Sequential:
    """Two convolutions of 16 channels on 16 × 16 pixels."""
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Flatten(), nn.Linear(16 * 256, 10)).to(DTYPE)


def small_conv_net() -> nn.Sequential:
    """A convolutional net for the 8 × 8 images of digits."""
    first, second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Flatten(), nn.Linear(128, 10))


def flow_cases() -> list[tuple[str, Callable[[], nn.Module], Tensor, Tensor]]:
    """Name, network, inputs and targets: slices of real tables, rows by a fixed stride."""
    diabetes, wine, cancer, images = (
        loader(return_X_y=True)
        for loader in (datasets.load_diabetes, datasets.load_wine, datasets.load_breast_cancer, datasets.load_digits)
    )
    pixels = torch.as_tensor((images[0] - images[0].mean()) / images[0].std(), dtype=DTYPE)
    value = torch.as_tensor((diabetes[1] - diabetes[1].mean()) / diabetes[1].std(), dtype=DTYPE)[:, None]
    return [
        ("diabetes, tanh 64-64", lambda: mlp(10, 64, 64, 1), standard(diabetes[0])[:120], value[:120]),
        (
            "wine, GELU 128",
            lambda: mlp(13, 128, 3, activation=nn.GELU),
            standard(wine[0])[::3],
            one_hot(wine[1])[::3],
        ),
        (
            "wine, SiLU 48-48-48",
            lambda: mlp(13, 48, 48, 48, 3, activation=nn.SiLU),
            standard(wine[0])[::3],
            one_hot(wine[1])[::3],
        ),
        (
            "breast cancer, tanh 40-40-40-40",
            lambda: mlp(30, 40, 40, 40, 40, 2),
            standard(cancer[0])[:80],
            one_hot(cancer[1])[:80],
        ),
        ("digits, GELU 64-64", lambda: mlp(64, 64, 64, 10, activation=nn.GELU), pixels[:30], one_hot(images[1])[:30]),
        (
            "digits, conv net, tanh",
            small_conv_net,
            pixels[:20].reshape(-1, 1, 8, 8),
            one_hot(images[1])[:20],
        ),
    ]


def standard(values: np.ndarray) -> Tensor:
    """Columns of mean 0 and variance 1."""
    return torch.as_tensor((values - values.mean(0)) / values.std(0), dtype=DTYPE)


def one_hot(labels: np.ndarray) -> Tensor:
    """Labels as rows of the unit matrix."""
    return nn.functional.one_hot(torch.as_tensor(labels)).to(DTYPE)


# --- measuring ------------------------------------------------------------------------------------------------------


def naive_gram(model: nn.Module, inputs: Tensor) -> Tensor:
    """G through D by vmap(jacrev): what one writes without this library."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(chosen: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(model, chosen, (sample[None],))[0]

    parts = vmap(jacrev(one), in_dims=(None, 0))(parameters, inputs)
    rows = torch.cat([part.flatten(2).flatten(0, 1) for part in parts.values()], 1)
    return rows @ rows.T


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of one call, after one that does not count."""
    work()
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def product_rate() -> float:
    """GF/s of a 1000 × 1000 float64 matrix product, now."""
    a = torch.randn(1000, 1000, dtype=DTYPE)
    seconds = [timed(lambda: a @ a)[0] for _ in range(5)]
    return 2.0 / median(seconds)


def record(section: str, **figures: Any) -> None:
    """Appends one line, and shows it."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout
    where = {"commit": commit.strip(), "torch": torch.__version__, "python": platform.python_version()}
    line = {"section": section, **figures, "product_gflops": round(product_rate(), 1), **where}
    line |= {"dtype": "float64", "device": "cpu", "threads": torch.get_num_threads()}
    with LINES.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


# --- the table ------------------------------------------------------------------------------------------------------


def write_table() -> None:
    """Puts the newest line of every case into the page."""
    newest = dict[tuple[str, str], dict[str, Any]]()
    for text in LINES.read_text().splitlines():
        line = json.loads(text)
        newest[line["section"], line["case"]] = line
    rows = ["| case | measured | 1000² product |", "|---|---|---|"]
    rows += [
        f"| {SHOWN[s]}{case} | {figures(line)} | {line['product_gflops']:.0f} GF/s |"
        for (s, case), line in newest.items()
    ]
    put(MEASURED, "table", rows)


SHOWN = {"gram": "Gram, ", "large gram": "Gram, ", "flow": "flow, ", "digits": "`fit digits`, "}


def figures(line: dict[str, Any]) -> str:
    """One line's figures in words."""
    if line["section"] == "gram":
        ratio = line["naive_seconds"] / line["seconds"]
        return f"{1e3 * line['seconds']:.0f} ms, {ratio:.0f}× vmap(jacrev); equal to {line['relative_error']:.0e}"
    if line["section"] == "large gram":
        return f"{line['seconds']:.2f} s, peak {line['peak_mb']:.0f} MB"
    if line["section"] == "flow":
        law = f"off the law by {line['to_1e8']:.0e} to C/C₀ = 1e-8, {line['to_1e12']:.0e} to 1e-12"
        return f"m = {line['n_residuals']}: {law}"
    accuracy = f"accuracy {line['accuracy']:.4f}"
    run = f"C = {line['cost']:.0e} in {line['seconds']:.0f} s, {line['steps']} steps"
    return f"{run}; {accuracy}; {line['peak_mb']:.0f} MB"


if __name__ == "__main__":
    main(sys.argv[1:])
