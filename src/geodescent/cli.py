"""The command `geodescent fit | flow | certify`: an edge, with no mathematics in it."""

import json
import platform
import resource
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from torch import nn

import geodescent as gd
from geodescent._data import DATA_SETS, Prepared, prepare
from geodescent._errors import InputError
from geodescent._fit import DEFAULT_FALL
from geodescent._held_out import FEWEST
from geodescent._runs import Config, Run, RunFolder, free_folder, load, strict_json
from geodescent._start import Start
from geodescent.report.curves import draw_fit, draw_flow, png
from geodescent.report.progress import ProgressBar

WIDTH = 80
INTERRUPTED = 130

HELP = "Fits networks to data by geometrically adapted gradient descent: no learning rate, and a certificate."
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)

Activation = Literal["tanh", "relu", "gelu", "silu", "sigmoid"]
Dtype = Literal["float64", "float32"]
DATA_HELP = f"One of {', '.join(DATA_SETS)}."
DataArgument = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
HiddenOption = Annotated[
    str | None, typer.Option("--hidden", metavar="WIDTHS", help="Such as 64,64 (default; digits: 256,256).")
]
ActivationOption = Annotated[Activation, typer.Option("--activation", help="Between the layers.")]
TestSizeOption = Annotated[float, typer.Option("--test-size", help="Fraction held out.")]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Of parameters and data.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, …")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the split and of the start.")]
OutOption = Annotated[str | None, typer.Option("--out", metavar="DIR", help="The run's folder (default: runs/…).")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object last, all else on standard error.")]
SecondsOption = Annotated[float | None, typer.Option("--max-seconds", min=0.0, help="Wall time.")]
StartOption = Annotated[
    Literal["data", "torch"], typer.Option("--start", help="Scale of the first layer: chosen by the data, or torch's.")
]
StopOption = Annotated[
    Literal["auto", "cost", "held-out"],
    typer.Option("--stop", help="What ends the run; auto: held-out for regression on data that look noisy."),
]
TargetOption = Annotated[float | None, typer.Option("--target-cost", metavar="C", help="Stop at this cost.")]


@app.command()
def fit(
    data: DataArgument,
    hidden: HiddenOption = None,
    activation: ActivationOption = "tanh",
    start: StartOption = "data",
    stop: StopOption = "auto",
    target_cost: TargetOption = 1e-12,
    max_steps: Annotated[int, typer.Option("--max-steps", min=1, help="Accepted steps.")] = 500,
    max_seconds: SecondsOption = None,
    test_size: TestSizeOption = 0.25,
    dtype: DtypeOption = "float64",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train to the least-squares minimum, as fast as possible; no learning rate."""
    with _answering(as_json) as answer:
        options: dict[str, Any] = {"target_cost": target_cost, "max_steps": max_steps, "max_seconds": max_seconds}
        options |= {"start": start, "stop": stop}
        job = _job("fit", data, test_size, seed, options, _network_choice(data, hidden, activation, dtype, device), out)
        answer.say(job.opening())
        chosen = gd.initialise(job.model, *job.training) if start == "data" else None
        if chosen is not None:
            answer.say(f"\n{chosen}\n")
        by_held_out = _by_held_out(stop, job, chosen, answer)
        with ProgressBar("C_lin", target_cost) as bar:
            solution = gd.fit(
                job.model,
                *job.training,
                target_cost=target_cost,
                max_steps=max_steps,
                max_seconds=max_seconds,
                validation=None if by_held_out else job.held_out,
                stop="held_out" if by_held_out else "cost",
                callback=_both(job.folder.append, bar),
            )
        title = f"{job.name()} · {solution.result.value}"
        curve = png(draw_fit(solution.history, cost0=solution.cost0, target_cost=target_cost, title=title))
        facts: dict[str, Any] = {"cost": solution.cost, "steps": solution.steps, "target_cost": target_cost}
        facts["start"] = None if chosen is None else chosen.as_dict()
        _close(job, solution, facts, curve, answer)


def _by_held_out(stop: str, job: "Job", chosen: Start | None, answer: "Answer") -> bool:
    """Whether held-out cost ends the run; where nobody said, whether much is left out of the best linear model."""
    if stop != "auto" or job.config.task != "regression" or chosen is None:
        return stop == "held-out"
    if not chosen.noisy or len(job.training[1]) < FEWEST:
        return False
    share = f"{chosen.cost_left_out / chosen.cost_of_mean:.0%}"
    answer.say(
        f"stop: by the cost of a fifth of the training samples, held out: {share} of the targets' variance\n"
        "cannot be foretold, as with noise. --stop cost fits to the end.\n"
    )
    return True


@app.command()
def flow(
    data: DataArgument,
    hidden: HiddenOption = None,
    activation: ActivationOption = "tanh",
    until: Annotated[
        float | None, typer.Option("--until", metavar="TAU", help="Time τ to stop at (default: where C/C₀ = 1e-12).")
    ] = None,
    target_cost: TargetOption = None,
    tol: Annotated[float, typer.Option("--tol", help="Relative tolerance of the integration.")] = 1e-9,
    max_seconds: SecondsOption = 300.0,
    test_size: TestSizeOption = 0.25,
    dtype: DtypeOption = "float64",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the adapted flow itself; its cost stands beside the curve predicted before the first step."""
    with _answering(as_json) as answer:
        options = {"until": until, "target_cost": target_cost, "tol": tol, "max_seconds": max_seconds}
        job = _job(
            "flow", data, test_size, seed, options, _network_choice(data, hidden, activation, dtype, device), out
        )
        answer.say(job.opening())
        with ProgressBar("predicted", target_cost, until or gd.stopping_time(1.0, DEFAULT_FALL)) as bar:
            path = gd.flow(
                job.model,
                *job.training,
                until=until,
                target_cost=target_cost,
                tol=tol,
                max_seconds=max_seconds,
                callback=_both(job.folder.append, bar),
            )
        title = f"{job.name()} · largest relative deviation {path.max_relative_deviation:.1e}"
        curve = png(draw_flow(path.time, path.cost, path.predicted_cost, floor=path.floor, title=title))
        facts = {
            "cost": float(path.cost[-1]),
            "steps": len(path.time) - 1,
            "target_cost": target_cost,
            "max_relative_deviation": path.max_relative_deviation,
            "points": len(path.time),
        }
        _close(job, path, facts, curve, answer)


@app.command()
def certify(
    data: Annotated[str, typer.Argument(metavar="DATA|RUN", help=f"{DATA_HELP[:-1]}, or the folder of a run.")],
    hidden: HiddenOption = None,
    activation: ActivationOption = "tanh",
    target_cost: TargetOption = None,
    test_size: TestSizeOption = 0.25,
    dtype: DtypeOption = "float64",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """What is known before the first step, or of a finished run: regime, rank, floors and their causes."""
    with _answering(as_json) as answer:
        started = time.perf_counter()
        if data in DATA_SETS:
            choice = _network_choice(data, hidden, activation, dtype, device)
            job = _job("certify", data, test_size, seed, {"target_cost": target_cost}, choice, None)
            model, training, run = job.model, job.training, None
        else:
            loaded = _run_named(data)
            model, training, run = loaded.model, loaded.training_tensors(), str(loaded.path)
            target_cost = loaded.config.options["target_cost"] if target_cost is None else target_cost
        certificate = gd.certify(model, *training, target_cost=target_cost)
        seconds = time.perf_counter() - started
        answer.say(str(certificate))
        answer.give(
            {"certificate": certificate.as_dict(), "seconds": seconds, "peak_mb": _peak_mb(), "data": data, "run": run}
        )


def main() -> None:
    """The console script; a usage error under --json is an object too."""
    try:
        app()
    except SystemExit as end:
        if end.code == 2 and "--json" in sys.argv:
            print(json.dumps({"error": "Usage error: the sentence is on standard error; see geodescent --help."}))
        raise


@dataclass(frozen=True)
class Answer:
    """Where things are said: with --json one object on standard output, everything else on standard error."""

    as_json: bool

    def say(self, text: str) -> None:
        """A text for people."""
        typer.echo(text, err=self.as_json)

    def give(self, content: Mapping[str, Any]) -> None:
        """The one object, last."""
        if self.as_json:
            typer.echo(strict_json(dict(content)))

    def fail(self, message: str, status: int) -> typer.Exit:
        """The way out after an error."""
        typer.echo(f"error: {message}", err=True)
        self.give({"error": message})
        return typer.Exit(status)


@contextmanager
def _answering(as_json: bool) -> Iterator[Answer]:
    answer = Answer(as_json)
    try:
        yield answer
    except (ValueError, OSError) as error:
        raise answer.fail(str(error), 1) from error
    except KeyboardInterrupt as interrupt:
        raise answer.fail("interrupted", INTERRUPTED) from interrupt


@dataclass(frozen=True)
class NetworkChoice:
    """The network asked for, before its data are known."""

    hidden: tuple[int, ...]
    activation: str
    dtype: Dtype
    device: str


@dataclass(frozen=True)
class Job:
    """A model at its start, with its data and the folder of its run."""

    prepared: Prepared
    config: Config
    model: nn.Module
    folder: RunFolder

    @property
    def training(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y of the training part."""
        return self._tensors(self.prepared.split.train)

    @property
    def held_out(self) -> tuple[torch.Tensor, torch.Tensor]:
        """X and y held out."""
        return self._tensors(self.prepared.split.test)

    def name(self) -> str:
        """Data and network in a few words."""
        return f"{self.config.data} · {self.config.widths} {self.config.activation}"

    def opening(self) -> str:
        """What is about to be trained on what."""
        kind = f"{self.config.n_outputs} classes" if self.config.class_names else "one real target"
        train, test = len(self.prepared.split.train), len(self.prepared.split.test)
        return (
            f"{self.name()} · {self.config.dtype} · {self.config.device} · seed {self.config.seed}\n"
            f"{self.config.task} ({kind}): {train} samples to train, {test} held out (--test-size)"
        )

    def test_scores(self) -> dict[str, float]:
        """Accuracy, or rmse and r2, on the samples held out."""
        with torch.no_grad():
            outputs = self.model(self.held_out[0])
        return self.prepared.score(self.prepared.split.test, outputs)

    def _tensors(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.prepared.tensors(rows, dtype=self.config.torch_dtype, device=self.config.device)


def _network_choice(data: str, hidden: str | None, activation: str, dtype: Dtype, device: str) -> NetworkChoice:
    widths = hidden if hidden is not None else "256,256" if data == "digits" else "64,64"
    try:
        numbers = tuple(int(width) for width in widths.split(",") if width.strip())
    except ValueError as error:
        raise typer.BadParameter(f"--hidden takes widths such as 64,64: got {widths!r}.") from error
    return NetworkChoice(numbers, activation, dtype, _device(device))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch sees no CUDA device here. Use --device cpu or auto.")
    if name != "cpu" and not name.startswith("cuda"):
        raise InputError(f"--device {name}: cpu, cuda, cuda:0 … or auto are known.")
    return name


def _job(
    command: str,
    data: str,
    test_size: float,
    seed: int,
    options: Mapping[str, float | str | None],
    choice: NetworkChoice,
    out: str | None,
) -> Job:
    prepared = prepare(data, test_size=test_size, seed=seed)
    table, target_scaling = prepared.table, prepared.target_scaling
    config = Config(
        command=command,
        data=data,
        task=table.task,
        class_names=table.class_names,
        feature_names=table.feature_names,
        n_outputs=table.n_outputs,
        hidden=choice.hidden,
        activation=choice.activation,
        dtype=choice.dtype,
        device=choice.device,
        seed=seed,
        test_size=test_size,
        input_scaling=prepared.input_scaling.as_dict(),
        target_scaling=target_scaling.as_dict() if target_scaling else None,
        options=dict(options),
        versions={"geodescent": gd.__version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    folder = RunFolder(free_folder(out, name=f"{data}-{command}"), config, prepared.split)
    return Job(prepared, config, config.network().to(choice.device), folder)


def _run_named(name: str) -> Run:
    if not Path(name).exists():
        raise InputError(f"{name!r} is neither a data set ({', '.join(DATA_SETS)}) nor the folder of a run.")
    return load(name)


def _both(*callbacks: Callable[[Any], None]) -> Callable[[Any], None]:
    def call(record: Any) -> None:
        for callback in callbacks:
            callback(record)

    return call


def _close(job: Job, outcome: Any, facts: Mapping[str, Any], curve: bytes, answer: Answer) -> None:
    """Save, sum up, and leave with the status that says how the run ended."""
    certificate = outcome.certificate.as_dict()
    job.folder.finish(job.model, certificate=certificate, curve=curve)
    scores = job.test_scores()
    content = {
        **facts,
        "cost0": outcome.cost0,
        "result": outcome.result.name,
        "seconds": outcome.seconds,
        "peak_mb": _peak_mb(),
        "test": scores,
        "certificate": certificate,
        "stats": outcome.stats,
        "run": str(job.folder.path),
    }
    answer.say(_summary(content, sentence=outcome.result.value, certificate=str(outcome.certificate)))
    answer.give(content)
    if outcome.result.name == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _summary(content: Mapping[str, Any], *, sentence: str, certificate: str) -> str:
    target = content["target_cost"]
    rows = [
        ("cost", f"{content['cost0']:.4g} → {content['cost']:.4g}" + (f"  (target {target:.3g})" if target else "")),
        ("result", sentence),
        ("steps", f"{content['steps']} in {content['seconds']:.1f} s, peak {content['peak_mb']:.0f} MB"),
        ("held-out", ", ".join(f"{name} {value:.4g}" for name, value in content["test"].items())),
        ("run", content["run"]),
    ]
    rows += [("note", note) for note in content["stats"]["notes"]]
    if "max_relative_deviation" in content:
        deviation = f"{content['max_relative_deviation']:.2e} from the predicted cost, over {content['points']} points"
        rows.insert(2, ("deviation", deviation))
    shown = "\n".join(_row(name, text) for name, text in rows)
    return f"{shown}\n\ncertificate at the end\n{certificate}"


def _row(name: str, text: str) -> str:
    indent = " " * 13
    lines = textwrap.TextWrapper(
        WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return name.ljust(13) + lines.fill(text)[13:]


def _peak_mb() -> float:
    """Peak resident memory of this program: VmHWM on Linux, where ru_maxrss also counts whoever started it."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return float(fields["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
