"""Training and held-out cost over a DataLoader, ours beside Adam's: `python benchmarks/batches.py [--ours] [--draw]`.

Appends one JSON line a run to batches.jsonl; `--draw` makes the figure and the table of docs/batches.md from them.

- The unit of time is one full-batch gradient of the cost, measured in the process of each case before its runs, and
  again after each run; a run's times are divided by the geometric mean of the two around it.
- Ours is what people call, `gd.fit(model, loader, validation=…)`, from torch's own start. Its clock begins before the
  call, and reading the batches and the held-out cost after each round count. No step of it was chosen by the held-out
  data: the curves are those of the path.
- Adam takes batches of 128, cut out of the tensors in a new order each pass. Its costs are read off the clock. Three
  rates, each constant and with a cosine that ends with the run; a curve is the least of the six at each moment, for
  training and held-out costs apart, which no single run reaches.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from cases import mlp, real
from large_cases import wide_conv_net
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

HERE = Path(__file__).parent
LINES, PAGE = HERE / "batches.jsonl", HERE.parent / "docs" / "batches.md"
BATCH, LAST = 128, 120  # Samples of Adam's batches; gradients of a run.
RATES = (1e-3, 3e-3, 1e-2)
GRAIN = 1.05  # Adam's costs are read after each 5 % more of its time.
MOMENTS = (5, 15, 30, 60, 120)  # Gradients: the columns of the table.
OURS, ADAM = "gd.fit", "Adam"
BEGIN, END = "<!-- batches: begin (generated) -->", "<!-- batches: end (generated) -->"

Data = tuple[Tensor, Tensor, Tensor, Tensor]
Trace = list[tuple[float, float, float]]
"""Seconds, training cost, held-out cost."""


@dataclass(frozen=True)
class BatchCase:
    """Data, held-out data, and a network at torch's own start.

    Attributes:
        title: for the figure and the table.
        data: (X, y, X, y), the last two held out.
        network: as torch makes it.
    """

    title: str
    data: Callable[[], Data]
    network: Callable[[], nn.Module]


def sines(noise: float, n: int = 20_000) -> Data:
    """`sin(3xW)`, ten outputs of three inputs; normal noise on the training targets, in their standard deviations."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n + 4_000, 3, generator=generator) * 2 - 1
    y = torch.sin(3 * x @ torch.randn(3, 10, generator=generator))
    return x[:n], y[:n] + noise * y.std() * torch.randn(n, 10, generator=generator), x[n:], y[n:]


def digits() -> Data:
    """scikit-learn's images of digits, 1,347 and 450, classes as one-hot targets."""
    x, y, xt, yt = (part.float() for part in real("digits", 0))
    return x, y, xt, yt


CASES = {
    "noiseless": BatchCase("sines, no noise; 3-256-256-10", lambda: sines(0.0), lambda: mlp(3, 256, 256, 10)),
    "noisy": BatchCase("sines, 30 % noise; 3-256-256-10", lambda: sines(0.3), lambda: mlp(3, 256, 256, 10)),
    "digits": BatchCase("images of digits; two convolutions", digits, wide_conv_net),
}


def main() -> None:
    """Runs what was asked for, or draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(CASES), help="only these, separated by commas")
    parser.add_argument("--ours", action="store_true", help="only gd.fit, as after a change of it")
    parser.add_argument("--draw", action="store_true", help="no run: the figure and the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.cases.split(",")
    if arguments.draw:
        draw(names)
        return
    for name in names:
        run(name, others=not arguments.ours)


def run(name: str, *, others: bool) -> None:
    """All runs of a case; without others that of `gd.fit` alone."""
    case = CASES[name]
    data = case.data()
    torch.manual_seed(0)
    start = case.network().to(data[0].dtype)
    unit = gradient_seconds(start, data)
    runs = [(OURS, {})] + [(ADAM, {"lr": lr, "cosine": cosine}) for lr in RATES for cosine in (False, True)]
    for method, setting in runs if others else runs[:1]:
        model, before = copy.deepcopy(start), unit
        seconds = LAST * unit
        trace, result = ours(model, data, seconds) if method == OURS else (adam(model, data, seconds, **setting), "")
        unit = gradient_seconds(start, data)
        of_run = math.sqrt(before * unit)
        times = [(seconds / of_run, *costs) for seconds, *costs in trace]
        line = {"case": name, "method": method, "setting": setting, "gradient_seconds": [before, unit]}
        with LINES.open("a") as out:
            out.write(json.dumps(line | {"result": result, "trace": times}) + "\n")
        print(name, method, setting, result, "a gradient takes", f"{of_run:.3f} s;", times[-1], flush=True)


def cost(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """`C = ‖x − y‖²/(2N)`."""
    return (model(x) - y).square().sum() / (2 * len(x))


def gradient_seconds(model: nn.Module, data: Data) -> float:
    """The median of seven full-batch gradients."""
    model, found = copy.deepcopy(model), []
    for _ in range(7):
        begin = time.perf_counter()
        cost(model, *data[:2]).backward()
        found.append(time.perf_counter() - begin)
    return sorted(found)[3]


def ours(model: nn.Module, data: Data, seconds: float) -> tuple[Trace, str]:
    """The call as people write it."""
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(TensorDataset(*data[:2]), batch_size=BATCH, shuffle=True, generator=generator)
    begin, trace = time.perf_counter(), Trace()

    def noted(record: gd.StepRecord) -> None:
        assert record.validation_cost is not None
        trace.append((time.perf_counter() - begin, record.cost, record.validation_cost))

    held_out = DataLoader(TensorDataset(*data[2:]), batch_size=1_000)
    solution = gd.fit(model, loader, validation=held_out, max_seconds=seconds, callback=noted)
    return trace, solution.result.name


def adam(model: nn.Module, data: Data, seconds: float, *, lr: float, cosine: bool) -> Trace:
    """torch.optim.Adam, fused."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    generator = torch.Generator().manual_seed(1)
    begin, aside, due, trace = time.perf_counter(), 0.0, 0.0, Trace()
    x, y = data[:2]
    while True:
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            now = time.perf_counter() - begin - aside
            if now >= due or now >= seconds:
                with torch.no_grad():
                    trace.append((now, cost(model, x, y).item(), cost(model, *data[2:]).item()))
                due = GRAIN * now + 1e-3 * seconds
                aside = time.perf_counter() - begin - now
            if now >= seconds:
                return trace
            if cosine:
                optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * now / seconds))
            loss = cost(model, x[rows], y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


# --- the page -------------------------------------------------------------------------------------------------------


def traces(name: str, method: str) -> list[Trace]:
    """The newest of each setting."""
    lines = [json.loads(line) for line in LINES.read_text().splitlines()]
    newest = {str(x["setting"]): x["trace"] for x in lines if (x["case"], x["method"]) == (name, method)}
    return list(newest.values())


def at(runs: list[Trace], time: float, which: int) -> float:
    """The last cost of each run by then, training (1) or held-out (2); the least of the runs."""
    known = [[point[which] for point in run if point[0] <= time] for run in runs]
    return min((costs[-1] for costs in known if costs), default=math.nan)


def draw(names: list[str]) -> None:
    """The figure, and the table between the marks of the page."""
    drawn, panels = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.9), squeeze=False)
    times = [1.5 * (LAST / 1.5) ** (i / 300) for i in range(301)]
    for axes, name in zip(panels.flat, names, strict=True):
        for method, colour in ((OURS, "C3"), (ADAM, "black")):
            runs = traces(name, method)
            for which, style, words in ((1, "-", "training"), (2, "--", "held out")):
                curve = [at(runs, time, which) for time in times]
                label = f"{method}{'' if method == OURS else ', batches of 128'}: {words}"
                axes.step(times, curve, style, where="post", color=colour, label=label, linewidth=1.8)
        axes.set(xscale="log", yscale="log", title=CASES[name].title, xlabel="time in full-batch gradients")
        axes.set_xlim(1.5, LAST)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    panels[0, 0].set_ylabel("cost C")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="lower center", ncols=4, fontsize="small")
    drawn.tight_layout(rect=(0.0, 0.07, 1.0, 1.0))
    drawn.savefig(PAGE.with_suffix(".png"), dpi=100)
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(names)}\n{END}{after}")


def table(names: list[str]) -> str:
    """Training and held-out cost of both methods at each moment; the lower of two in bold."""
    rows = [f"| case | cost | method | {' | '.join(map(str, MOMENTS))} |", f"|---|---|---|{'---|' * len(MOMENTS)}"]
    for name in names:
        for which, words in ((1, "training"), (2, "held out")):
            costs = {method: [at(traces(name, method), t, which) for t in MOMENTS] for method in (OURS, ADAM)}
            for method in (OURS, ADAM):
                other = costs[ADAM if method == OURS else OURS]
                cells = [cell(*pair) for pair in zip(costs[method], other, strict=True)]
                rows.append(f"| {CASES[name].title} | {words} | {method} | {' | '.join(cells)} |")
    return "\n".join(rows)


def cell(own: float, other: float) -> str:
    """A cost, in bold where it is the lower one."""
    text = "–" if math.isnan(own) else f"{own:.2g}"
    return f"**{text}**" if own < other else text


if __name__ == "__main__":
    main()
