"""The exact mode: a network through all digits of the targets; and the flow itself."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from geodescent import doors
from geodescent._errors import InputError
from geodescent._record import History, StepRecord
from geodescent.app._entries import Entries
from geodescent.app.commands._job import Job, NetworkAsked, ScaledTable
from geodescent.app.commands._outcome import Certified, FitOutcome, Path
from geodescent.app.commands._sentences import suited
from geodescent.app.fitted import FittedNetwork
from geodescent.app.report import ProgressBar, draw_fit, draw_flow, in_options, numeral
from geodescent.app.runs import STATE_FOLDER, Config
from geodescent.app.tables import PreparedTable
from geodescent.certificate import Certificate
from geodescent.generalisation import FEWEST, ChosenStart
from geodescent.outputs import SampleMap
from geodescent.theory import stopping_time

OF_NUMBERS, OF_CLASSES = 1e-24, 1e-12
"""Target costs if nobody says, in units of the scaled targets: all digits of numbers; more digits change no class."""
STEPS_OF_A_FIT = 500  # At most, if nobody says.


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is fitted.

    Attributes:
        network: that was asked for.
        start: "data" or "torch".
        stop: "auto", "cost" or "validation".
        target_cost: in units of the scaled targets; None leaves it to the table.
        max_steps, max_seconds: at most.
    """

    network: NetworkAsked
    start: str = "data"
    stop: str = "auto"
    target_cost: float | None = None
    max_steps: int = STEPS_OF_A_FIT
    max_seconds: float | None = None

    def as_dict(self) -> Entries:
        """What config.json keeps of it beside the network."""
        return {name: value for name, value in asdict(self).items() if name != "network"}

    def target_of(self, table: PreparedTable) -> float:
        """Where the fit of this table ends."""
        if self.target_cost is not None:
            return self.target_cost
        return OF_CLASSES if table.target.classes else OF_NUMBERS


@dataclass
class Recorder:
    """Writes the history, a line for each step; of a resumed run those from its first step on are dropped before."""

    job: Job
    config: Config
    first: int | None = None

    def __call__(self, record: StepRecord) -> None:
        if self.first is None:
            self._begin(record.step)
        with self.job.noting(f"The file history.jsonl in {self.job.folder.path} is not whole"):
            self.job.folder.append(asdict(record))

    def _begin(self, step: int) -> None:
        self.first = step
        self.job.begin(self.config)
        if self.job.folder.resumed:
            self.job.folder.keep_history_before(step)


@dataclass(frozen=True)
class Start:
    """A network before its fit, with the training part.

    Attributes:
        job: whose network it is.
        network: at its start.
        data: the training part.
        config: of the run.
        chosen: what was found out about the start; None where torch's is taken.
        theta: θ₀.
    """

    job: Job
    network: nn.Module
    data: ScaledTable
    config: Config
    chosen: ChosenStart | None = field(default=None)

    @classmethod
    def of(cls, job: Job, asked: NetworkAsked, options: Entries, *, suited: bool) -> "Start":
        """The network that was asked for, its first layer suited to the data where that was, too."""
        choice = asked.choice(job.table)
        data = ScaledTable.of(job.table, choice)
        config = job.config("exact", options, choice, data.scaled)
        network = choice.network(config.n_inputs, config.n_outputs, config.data.seed).to(choice.device)
        chosen = doors.initialise(network, data.X, data.y) if suited else None
        return cls(job, network, data, config, chosen if isinstance(chosen, ChosenStart) else None)


def fitted_network(job: Job, options: NetworkOptions) -> FitOutcome:
    """To the least-squares minimum, or until validation cost rises."""
    start = Start.of(job, options.network, options.as_dict(), suited=options.start == "data")
    target_cost = options.target_of(job.table)
    if start.chosen is not None:
        job.answer.say(f"\n{start.chosen if job.verbose else suited(start.chosen)}")
    by_validation = _by_validation(options.stop, start)
    theta, recorder = SampleMap(start.network, start.data.X).theta.clone(), Recorder(job, start.config)
    with ProgressBar("C_lin", target_cost, verbose=job.verbose) as bar:
        solution = doors.fit(
            start.network,
            start.data.X,
            start.data.y,
            target_cost=target_cost,
            max_steps=options.max_steps,
            max_seconds=options.max_seconds,
            stop="validation" if by_validation else "cost",
            callback=_both(recorder, bar),
            checkpoint=job.folder.path / STATE_FOLDER,
        )
    resumed = solution.steps if recorder.first is None else recorder.first - 1
    if job.folder.resumed:
        with job.noting(f"The file history.jsonl in {job.folder.path} is not whole"):
            job.folder.put_history(_records(solution.history))
    facts = {
        "cost": solution.cost,
        "cost0": solution.cost0,
        "target_cost": target_cost,
        "steps": solution.steps,
        "start": None if start.chosen is None else start.chosen.as_dict(),
        "resumed_from": resumed if job.folder.resumed and resumed > 0 else None,
        "stats": solution.stats,
    }
    title = f"{job.table.raw.name} · {start.config.network_name} · {solution.result.value}"
    history = {name: values for name, values in solution.history.items() if isinstance(values, np.ndarray)}
    judged = history["validation_cost"] if by_validation else history["cost"]
    picture = partial(draw_fit, solution.history, cost0=solution.cost0, target_cost=target_cost, title=title)
    path = Path(history, int(np.nanargmin(judged)), "half the scaled mean square error", picture)
    return _outcome(start, solution, facts, path, theta, interpolates=not by_validation)


def _records(history: History) -> Iterator[dict[str, object]]:
    """The records of a history, the start left out, as they are written step by step."""
    columns = {name: values for name, values in history.items() if isinstance(values, np.ndarray)}
    blocks = history["block_rms"]
    for place in range(1, len(history["step"])):
        record = {name: values[place] for name, values in columns.items()}
        yield {**record, "step": int(history["step"][place]), "block_rms": {k: v[place] for k, v in blocks.items()}}


@dataclass(frozen=True)
class FlowOptions:
    """How far the flow is followed, and how closely."""

    network: NetworkAsked
    until: float | None
    target_cost: float | None
    tol: float
    max_seconds: float | None


def followed_flow(job: Job, options: FlowOptions) -> FitOutcome:
    """Along the adapted flow itself, from torch's start."""
    kept = {name: value for name, value in asdict(options).items() if name != "network"}
    start = Start.of(job, options.network, kept, suited=False)
    theta, recorder = SampleMap(start.network, start.data.X).theta.clone(), Recorder(job, start.config)
    with torch.no_grad():
        at_start = start.network(start.data.X)
    end = options.until or stopping_time(1.0, doors.DEFAULT_FALL)
    with ProgressBar("predicted", options.target_cost, end, verbose=job.verbose) as bar:
        flow = doors.flow(
            start.network,
            start.data.X,
            start.data.y,
            until=options.until,
            target_cost=options.target_cost,
            tol=options.tol,
            max_seconds=options.max_seconds,
            callback=_both(recorder, bar),
        )
    facts = {
        "cost": float(flow.cost[-1]),
        "cost0": flow.cost0,
        "target_cost": options.target_cost,
        "steps": len(flow.time) - 1,
        "max_relative_deviation": flow.max_relative_deviation,
        "points": len(flow.time),
        "stats": flow.stats,
    }
    deviation = f"{flow.max_relative_deviation:.1e}"
    title = f"{job.table.raw.name} · {start.config.widths} · largest relative deviation {deviation}"
    history = {"step": np.arange(len(flow.time), dtype=np.float64), "cost": flow.cost, "time": flow.time}
    picture = partial(draw_flow, vars(flow), floor=flow.floor, title=title)
    path = Path(history, len(flow.time) - 1, "half the scaled mean square error", picture)
    rows = (("deviation", f"{deviation} from the predicted cost, over {len(flow.time)} points"),)
    aimed = start.data.y - math.exp(-float(flow.time[-1])) * (start.data.y - at_start)
    return _outcome(start, flow, facts, path, theta, interpolates=True, rows=rows, aimed=aimed)


def _outcome(
    start: Start,
    ended: doors.Solution | doors.Flow,
    facts: Entries,
    path: Path,
    theta: Any,
    *,
    interpolates: bool,
    rows: tuple[tuple[str, str], ...] = (),
    aimed: torch.Tensor | None = None,
) -> FitOutcome:
    """The outcome of a network that stands at its end.

    Args:
        aimed: targets of the network that was stopped on its way, where these are not those of the table.
    """
    begin = time.perf_counter()
    fitted, notes = FittedNetwork(start.network.eval(), start.data.scaled), [*facts["stats"]["notes"]]
    try:
        fitted = fitted.judged(start.data.X, start.data.y, theta, interpolates=interpolates, aimed=aimed)
    except (InputError, RuntimeError) as error:
        notes.append(f"Rows left out say nothing of this network ({error}).")
    target = facts["target_cost"]
    shown = f"{facts['cost0']:.4g} → {facts['cost']:.4g}" + (f"  (target {target:.3g})" if target else "")
    seconds = ended.seconds + time.perf_counter() - begin
    return FitOutcome(
        config=start.config,
        fitted=fitted,
        result=ended.result.name,
        sentence=ended.result.value,
        facts={**facts, "seconds": seconds},
        rows=(("cost", shown), *rows, ("steps", f"{facts['steps']} in {seconds:.1f} s")),
        path=path,
        certified=lambda: _certified(ended.certificate),
        story=_story(start, facts),
        notes=tuple(in_options(str(note)) for note in notes),
    )


def _certified(certificate: Certificate) -> Certified:
    short = in_options(f"In short: {certificate.meaning} {certificate.advice}")
    return Certified(in_options(str(certificate)), certificate.as_dict(), short=short)


def _story(start: Start, facts: Entries) -> str:
    table, config = start.job.table, start.config
    kind = f"which of {config.n_outputs} classes a row belongs to" if table.target.classes else "a number for each row"
    return (
        f"A neural network of {config.widths} units was fitted to {len(table.split.train)} rows, to predict "
        f"{table.target.name}: {kind}. In {facts['steps']} steps the mean square error of these rows, halved and in "
        f"units of the scaled target, fell from {numeral(facts['cost0'])} to {numeral(facts['cost'])}. The other "
        f"{len(table.split.test)} rows were not used; the errors below are theirs."
    )


def _by_validation(stop: str, start: Start) -> bool:
    """Whether validation cost ends the run; where nobody said, whether much is left out of the best linear model."""
    chosen, table = start.chosen, start.job.table
    if stop != "auto" or table.target.classes or chosen is None:
        return stop == "validation"
    if not chosen.noisy or len(table.split.train) < FEWEST:
        return False
    share = f"{chosen.cost_left_out / chosen.cost_of_mean:.0%}"
    start.job.answer.say(
        f"\nstop: by the cost of a fifth of the training samples, drawn for validation: {share} of the targets' "
        "variance cannot be predicted, as with noise. --stop cost fits to the end."
    )
    return True


def _both(*callbacks: Callable[[StepRecord], None]) -> Callable[[StepRecord], None]:
    def call(record: StepRecord) -> None:
        for callback in callbacks:
            callback(record)

    return call
