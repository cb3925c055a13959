"""The command `geodescent fit | flow | certify`: an edge, with no mathematics in it."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from matplotlib.figure import Figure

from geodescent import doors
from geodescent._errors import InputError
from geodescent._memory import MB, highest_bytes
from geodescent._version import __version__
from geodescent.app._job import Job, JobOptions, job_of, network_choice
from geodescent.app._load import load
from geodescent.app._networks import Dtype
from geodescent.app._runs import Run
from geodescent.app._tables import DATA_SETS
from geodescent.app.report import Answer, ProgressBar, draw_fit, draw_flow, png, summary
from geodescent.generalisation import FEWEST, ChosenStart
from geodescent.theory import stopping_time

INTERRUPTED = 130  # Exit status: 128 and the number of SIGINT, as shells have it.

HELP = "Fits networks to data by geometrically adapted gradient descent: no learning rate, and a certificate."
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"geodescent {__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Fits networks to data by geometrically adapted gradient descent: no learning rate, and a certificate."""


Activation = Literal["tanh", "relu", "gelu", "silu", "sigmoid"]
DATA_HELP = f"One of {', '.join(DATA_SETS)}."
DataArgument = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
HiddenOption = Annotated[
    str | None, typer.Option("--hidden", metavar="WIDTHS", help="Such as 64,64 (default; digits: 256,256).")
]
ActivationOption = Annotated[Activation, typer.Option("--activation", help="Between the layers.")]
TestSizeOption = Annotated[float, typer.Option("--test-size", help="Fraction of the test part.")]
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
    Literal["auto", "cost", "validation"],
    typer.Option("--stop", help="What ends the run; auto: validation for regression on data that look noisy."),
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
        choice = network_choice(data, hidden, activation, dtype, device)
        job = job_of("fit", JobOptions(data, choice, seed, test_size, out, options))
        with job.folder.alone():
            answer.say(job.opening())
            chosen = doors.initialise(job.model, *job.training) if start == "data" else None
            if chosen is not None:
                answer.say(f"\n{chosen}\n")
            by_validation = _by_validation(stop, job, chosen, answer)
            with ProgressBar("C_lin", target_cost) as bar:
                solution = doors.fit(
                    job.model,
                    *job.training,
                    target_cost=target_cost,
                    max_steps=max_steps,
                    max_seconds=max_seconds,
                    validation=None if by_validation else job.test,
                    stop="validation" if by_validation else "cost",
                    callback=_both(job.record, bar),
                )
            title = f"{job.name()} · {solution.result.value}"
            picture = partial(draw_fit, solution.history, cost0=solution.cost0, target_cost=target_cost, title=title)
            facts: dict[str, Any] = {"cost": solution.cost, "steps": solution.steps, "target_cost": target_cost}
            facts["start"] = None if chosen is None else chosen.as_dict()
            _close(job, solution, facts, picture, answer)


def _by_validation(stop: str, job: Job, chosen: ChosenStart | None, answer: Answer) -> bool:
    """Whether validation cost ends the run; where nobody said, whether much is left out of the best linear model."""
    if stop != "auto" or job.config.table.task != "regression" or chosen is None:
        return stop == "validation"
    if not chosen.noisy or len(job.training[1]) < FEWEST:
        return False
    share = f"{chosen.cost_left_out / chosen.cost_of_mean:.0%}"
    answer.say(
        f"stop: by the cost of a fifth of the training samples, drawn for validation: {share} of the\n"
        "targets' variance cannot be predicted, as with noise. --stop cost fits to the end.\n"
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
    test_size: TestSizeOption = 0.25,
    max_seconds: SecondsOption = 300.0,
    dtype: DtypeOption = "float64",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the adapted flow itself; its cost stands beside the curve predicted before the first step."""
    with _answering(as_json) as answer:
        options = {"until": until, "target_cost": target_cost, "tol": tol, "max_seconds": max_seconds}
        choice = network_choice(data, hidden, activation, dtype, device)
        job = job_of("flow", JobOptions(data, choice, seed, test_size, out, options))
        with job.folder.alone():
            answer.say(job.opening())
            with ProgressBar("predicted", target_cost, until or stopping_time(1.0, doors.DEFAULT_FALL)) as bar:
                path = doors.flow(
                    job.model,
                    *job.training,
                    until=until,
                    target_cost=target_cost,
                    tol=tol,
                    max_seconds=max_seconds,
                    callback=_both(job.record, bar),
                )
            title = f"{job.name()} · largest relative deviation {path.max_relative_deviation:.1e}"
            picture = partial(draw_flow, vars(path), floor=path.floor, title=title)
            facts = {
                "cost": float(path.cost[-1]),
                "steps": len(path.time) - 1,
                "target_cost": target_cost,
                "max_relative_deviation": path.max_relative_deviation,
                "points": len(path.time),
            }
            _close(job, path, facts, picture, answer)


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
            choice = network_choice(data, hidden, activation, dtype, device)
            options = {"target_cost": target_cost}
            job = job_of("certify", JobOptions(data, choice, seed, test_size, None, options))
            model, training, run = job.model, job.training, None
        else:
            loaded = _run_named(data)
            model, training, run = loaded.model, loaded.training_tensors(), str(loaded.path)
            target_cost = loaded.config.options.get("target_cost") if target_cost is None else target_cost
        certificate = doors.certify(model, *training, target_cost=target_cost)
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


@contextmanager
def _answering(as_json: bool) -> Iterator[Answer]:
    """What the command answers, also to whatever goes wrong inside the block; SIGTERM is as Ctrl-C there."""
    answer = Answer(as_json)
    try:
        with doors.as_ctrl_c():
            yield answer
    except (typer.Exit, typer.BadParameter):
        raise
    except (ValueError, OSError) as error:
        raise answer.fail(str(error), 1) from error
    except KeyboardInterrupt as interrupt:
        raise answer.fail("interrupted", INTERRUPTED) from interrupt
    except Exception as error:
        traceback.print_exc()
        raise answer.fail(f"{type(error).__name__}: {error} (this should not happen: please report it)", 1) from error


def _run_named(name: str) -> Run:
    if not Path(name).exists():
        raise InputError(f"{name!r} is neither a data set ({', '.join(DATA_SETS)}) nor the folder of a run.")
    return load(name)


def _both(*callbacks: Callable[[Any], None]) -> Callable[[Any], None]:
    def call(record: Any) -> None:
        for callback in callbacks:
            callback(record)

    return call


def _close(job: Job, outcome: Any, facts: Mapping[str, Any], picture: Callable[[], Figure], answer: Answer) -> None:
    """Save, sum up, and leave with the status that says how the run ended; the weights first."""
    scores: dict[str, float] = {}
    curve: bytes | None = None
    with job.noting(f"the weights are not saved in {job.folder.path}"):
        job.folder.keep(job.model)
    certificate = outcome.certificate
    with job.noting("there is no picture"):
        curve = png(picture())
    with job.noting(f"certificate and picture are not saved in {job.folder.path}"):
        job.folder.describe(certificate=certificate.as_dict(), curve=curve)
    with job.noting("the test part has no scores"):
        scores = job.test_scores()
    content = {
        **facts,
        "cost0": outcome.cost0,
        "result": outcome.result.name,
        "seconds": outcome.seconds,
        "peak_mb": _peak_mb(),
        "test": scores,
        "certificate": certificate.as_dict(),
        "stats": {**outcome.stats, "notes": [*outcome.stats["notes"], *job.notes]},
        "run": str(job.folder.path),
    }
    answer.say(summary(content, sentence=outcome.result.value, certificate=str(certificate)))
    answer.give(content)
    if outcome.result.name == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _peak_mb() -> float:
    """Peak resident memory of this program."""
    return highest_bytes() / MB
