"""The command `geodescent`: its options, and how it ends; the work is done in `commands`.

What a command works with is imported when it runs, so that the help takes no longer than it must.
"""

import os
import sys
from typing import Annotated, Literal

import typer

from geodescent._version import __version__
from geodescent.app._shared_options import (
    DATA_HELP,
    ActivationOption,
    ColumnOption,
    CostOption,
    DataArgument,
    DeviceOption,
    DtypeOption,
    HiddenOption,
    JsonOption,
    OutOption,
    SecondsOption,
    SeedOption,
    TaskOption,
    TestSizeOption,
    VerboseOption,
)
from geodescent.app._usable import require_mode, require_no_options, widths
from geodescent.app._usage_errors import USAGE_ERROR, refused
from geodescent.app.fitted import INTERVAL_LEVEL
from geodescent.app.report import INTERRUPTED, NOTHING_SAVED, Answer, answering
from geodescent.app.tables import DATA_SETS

HELP = (
    "Predicts a column of a table from the others, with error bars, and fits networks to all digits: geometrically "
    "adapted gradient descent, no learning rate, a certificate of what stands in the way."
)
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=HELP
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"geodescent {__version__}")
        raise typer.Exit


@app.callback(help=HELP)
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """What goes before the name of a command."""


@app.command()
def fit(
    data: DataArgument,
    target: ColumnOption = None,
    task: TaskOption = "auto",
    mode: Annotated[
        Literal["auto", "posterior", "exact"],
        typer.Option("--mode", help="posterior: noisy data, with error bars; exact: all digits; auto: by the noise."),
    ] = "auto",
    stop: Annotated[
        Literal["auto", "cost", "validation"] | None,
        typer.Option("--stop", help="Of the exact mode: what ends it; auto: validation cost where data look noisy."),
    ] = None,
    target_cost: CostOption = None,
    hidden: HiddenOption = None,
    activation: ActivationOption = None,
    start: Annotated[
        Literal["data", "torch"] | None,
        typer.Option("--start", help="Scale of the first layer: chosen by the data (default), or torch's."),
    ] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", min=1, help="Accepted steps.")] = None,
    max_seconds: SecondsOption = None,
    test_size: TestSizeOption = 0.25,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out DIR.")] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Learn to predict a column of a table, with error bars.

    Where the data have no noise, a network is fitted to all digits.
    """
    of_network = {
        "--stop": stop,
        "--target-cost": target_cost,
        "--max-steps": max_steps,
        "--hidden": hidden,
        "--activation": activation,
        "--start": start,
        "--dtype": dtype,
        "--device": device,
    }
    exact_only = tuple(name for name, value in of_network.items() if value is not None)
    require_mode(mode, (*exact_only, *(["--resume"] if resume else [])), out=out, resume=resume)
    from geodescent.app import commands

    with answering(as_json) as answer:
        network = commands.NetworkOptions(
            network=commands.NetworkAsked(widths(hidden), activation, dtype, device),
            start=start or "data",
            stop=stop or "auto",
            target_cost=target_cost,
            max_steps=max_steps or commands.STEPS_OF_A_FIT,
            max_seconds=max_seconds,
        )
        asked = commands.DataOptions(data, target, task, test_size, seed)
        options = commands.FitOptions(mode, network, exact_only)
        content = commands.fit_table(asked, options, commands.RunOptions(out, resume, verbose), answer)
        answer.end(content)


@app.command()
def plan(
    data: DataArgument,
    target: ColumnOption = None,
    task: TaskOption = "auto",
    stop: Annotated[
        Literal["cost", "validation"], typer.Option("--stop", help="validation: a fifth of the rows is put aside.")
    ] = "cost",
    hidden: HiddenOption = None,
    activation: ActivationOption = None,
    test_size: TestSizeOption = 0.25,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    seed: SeedOption = 0,
    max_seconds: SecondsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an exact fit would do, before any work.

    Its stages and why, memory, and seconds a step, each in gradients over all rows; no step is taken.
    """
    from geodescent.app import commands

    with answering(as_json) as answer:
        network = commands.NetworkAsked(widths(hidden), activation, dtype, device)
        asked = commands.DataOptions(data, target, task, test_size, seed)
        options = commands.PlanOptions(network, stop, max_seconds)
        answer.give(commands.plan_table(asked, options, answer))


@app.command()
def flow(
    data: DataArgument,
    target: ColumnOption = None,
    task: TaskOption = "auto",
    hidden: HiddenOption = None,
    activation: ActivationOption = None,
    until: Annotated[
        float | None, typer.Option("--until", metavar="TAU", help="Time τ to stop at (default: where C/C₀ = 1e-12).")
    ] = None,
    target_cost: CostOption = None,
    tol: Annotated[float, typer.Option("--tol", help="Relative tolerance of the integration.")] = 1e-9,
    test_size: TestSizeOption = 0.25,
    max_seconds: SecondsOption = 300.0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Follow the adapted flow, whose cost curve is known beforehand.

    The measured cost stands beside the one predicted before the first step.
    """
    from geodescent.app import commands

    with answering(as_json) as answer:
        network = commands.NetworkAsked(widths(hidden), activation, dtype, device)
        options = commands.FlowOptions(network, until, target_cost, tol, max_seconds)
        asked = commands.DataOptions(data, target, task, test_size, seed)
        content = commands.follow_flow(asked, options, commands.RunOptions(out, verbose=verbose), answer)
        answer.end(content)


@app.command()
def certify(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA|RUN", help=f"{DATA_HELP[:-1]}, or the folder of a run.")],
    target: ColumnOption = None,
    task: TaskOption = "auto",
    hidden: HiddenOption = None,
    activation: ActivationOption = None,
    target_cost: CostOption = None,
    test_size: TestSizeOption = 0.25,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what stands in the way, before a fit or after it.

    Before the first step, or of a finished run: regime, rank, floors and their causes.
    """
    from geodescent.app import commands

    with answering(as_json) as answer:
        if data not in DATA_SETS and os.path.isdir(data):
            require_no_options(context, f"{data} is a folder: the certificate of a run is the one that it ended with")
        network = commands.NetworkAsked(widths(hidden), activation, dtype, device)
        asked = commands.DataOptions(data, target, task, test_size, seed)
        answer.give(commands.certify_table(asked, network, target_cost, answer))


@app.command()
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table with the same columns, in any order.")],
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="A .csv, .tsv or .parquet file (default: DATA-predicted.csv, or .tsv)."
        ),
    ] = None,
    level: Annotated[
        float | None, typer.Option("--level", help=f"Share of new targets inside the intervals ({INTERVAL_LEVEL}).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the rows of another table by a finished run.

    The table is written back with predictions and intervals, or with probabilities.
    """
    from geodescent.app import commands

    with answering(as_json) as answer:
        answer.give(commands.predicted_table(run, data, out, level, answer))


@app.command()
def solve(
    equation: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of an equation, or a .py file; without, all are listed.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", "--max-seconds", min=0.0, help="Of the fit (default: as the equation takes)."),
    ] = None,
    source: Annotated[
        bool, typer.Option("--source", help="Print the file of the equation, and solve nothing.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the start, and of noise.")] = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="A line for each step.")] = False,
) -> None:
    """Solve a differential equation by a network.

    Heat, waves, flows and more are known; a file with system() is solved as well.
    """
    from geodescent.app import commands

    with answering(as_json) as answer:
        if equation is None:
            answer.give(commands.list_equations(answer))
        elif source:
            typer.echo(commands.source_of_equation(equation), nl=False)
        else:
            options = commands.SolveOptions(equation, seconds, seed)
            content = commands.solve_equation(options, commands.RunOptions(out, verbose=verbose), answer)
            answer.end(content)


def main() -> None:
    """The console script; a usage error under --json is an object too."""
    try:
        status = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):  # before the command has begun to answer
        Answer("--json" in sys.argv).fail(NOTHING_SAVED, INTERRUPTED)
        status = INTERRUPTED
    except Exception as error:
        if not isinstance(error, USAGE_ERROR):
            raise
        status = refused(error)
    sys.exit(status)
