"""The posterior mode: what noisy data bear, with error bars."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

import numpy as np
import torch

from geodescent._deadline import within
from geodescent._threads import one_thread_for_few
from geodescent.app._entries import Entries
from geodescent.app.commands._job import Job
from geodescent.app.commands._outcome import Certified, FitOutcome, Path
from geodescent.app.commands._sentences import share
from geodescent.app.fitted import FittedClasses, FittedRegression, Rows
from geodescent.app.report import ProgressBar, draw_evidence
from geodescent.app.tables import shown
from geodescent.generalisation import TuningRecord, class_posterior_of, posterior_of

AVERAGED = 5  # Networks whose posteriors are averaged, as by `gd.fit_posterior`.
MUCH = 1.2  # Times the noise: an error above it is not noise alone, so that more rows would lower it.
AXIS = "minus log evidence, but for a constant"


def posterior_regression(job: Job, options: Entries) -> FitOutcome:
    """The posterior of a regression."""
    begin, (inputs, targets, weights) = time.perf_counter(), _training(job)
    with _shown(job, options) as record:
        posterior = posterior_of(inputs, targets, weights, starts=AVERAGED, seed=job.asked.seed, callback=record)
    fitted, seconds = FittedRegression(posterior), time.perf_counter() - begin
    error = float(posterior.left_out_rmse)
    noise, name, spread = posterior.noise, shown(job.table.target.name), float(targets.std())
    entries = {
        "noise": noise,
        "noise_free": posterior.is_noise_free,
        "left_out_rmse": error,
        "left_out_score": posterior.left_out_score,
        "rows": len(targets),
        "rows_used": posterior.rows_used,
        "inputs": inputs.shape[1],
    }
    words = (
        f"Of the variance of {name} {share(noise)} is taken to be noise, which no function of these columns predicts: "
        "to fit more closely would be to fit the noise.\n"
        f"Expect an rmse of {error:.4g} on new rows of the same kind (R² {posterior.left_out_score:.3f}).\n"
        f"{_help_for_numbers(name, error, noise**0.5 * spread, posterior.left_out_score)}"
    )
    return _outcome(job, options, fitted, seconds, Certified(words, entries, "what is known"), posterior.history)


def posterior_classes(job: Job, options: Entries) -> FitOutcome:
    """The posterior of classes."""
    begin, (inputs, targets, weights) = time.perf_counter(), _training(job)
    with _shown(job, options) as record:
        posterior = class_posterior_of(inputs, targets.long(), weights, seed=job.asked.seed, callback=record)
    fitted, seconds = FittedClasses(posterior), time.perf_counter() - begin
    shares = np.bincount(targets.long().numpy()) / len(targets)
    of_shares = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    entries = {
        "left_out_log_loss": fitted.left_out,
        "log_loss_of_shares": of_shares,
        "rows": len(targets),
        "rows_used": posterior.rows_used,
        "inputs": inputs.shape[1],
    }
    words = (
        f"Expect a log loss of {posterior.left_out_log_loss:.4g} on new rows of the same kind; to know the shares of "
        f"the classes alone gives {of_shares:.4g}.\n"
        "Probabilities were scaled so that they come true on training rows that are left out: of those given 80 %, "
        "about 80 % are right.\n"
        f"{_help_for_classes(posterior.left_out_log_loss, of_shares)}"
    )
    return _outcome(job, options, fitted, seconds, Certified(words, entries, "what is known"), posterior.history)


def _help_for_numbers(name: str, error: float, noise: float, score: float) -> str:
    """What would make the predictions better."""
    if score <= 0.0:
        return f"This fit found nothing about {name} in these columns: other columns would help, or more rows."
    if error > MUCH * noise:
        return f"The noise alone is {noise:.4g}: more rows would help, and columns that tell more of {name}."
    return f"The noise alone is {noise:.4g}, hardly less: what would help are columns that tell more of {name}."


def _help_for_classes(loss: float, of_shares: float) -> str:
    if loss >= of_shares:
        return "This fit found nothing about the class in these columns: other columns would help, or more rows."
    return "What would help: columns that tell more of the class, and more rows of the rarer classes."


def _training(job: Job) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, targets and how often each row counts, in float64."""
    train = job.table.split.train
    inputs = torch.from_numpy(np.ascontiguousarray(job.table.inputs[train], dtype=np.float64))
    targets = torch.from_numpy(job.table.targets[train].astype(np.float64))
    return inputs, targets, torch.ones_like(targets)


@contextmanager
def _shown(job: Job, options: Entries) -> Iterator[Callable[[TuningRecord], None]]:
    """A callback that shows the search for the numbers, inside the time that it may take."""
    count = 0
    with (
        ProgressBar("", verbose=job.verbose) as bar,
        within(options["max_seconds"]),
        one_thread_for_few(len(job.table.split.train)),
    ):
        bar.say("prior and noise are chosen by the evidence …")

        def record(found: TuningRecord) -> None:
            nonlocal count
            count += 1
            bar.say(f"evaluation {count}  minus log evidence {found.cost:.6g}")

        yield record


def _outcome(
    job: Job,
    options: Entries,
    fitted: FittedRegression | FittedClasses,
    seconds: float,
    certified: Certified,
    records: Sequence[TuningRecord],
) -> FitOutcome:
    history = _history(records)
    notes, steps = fitted.posterior.notes, len(history["cost"])
    facts = {
        "cost": None,
        "cost0": None,
        "target_cost": None,
        "steps": steps,
        "seconds": seconds,
        "resumed_from": None,
        "stats": {"notes": list(notes)},
    }
    kept = int(np.nanargmin(history["cost"])) if steps else 0
    picture = partial(draw_evidence, history["cost"], kept=kept, title=job.table.raw.name) if steps else None
    lines = tuple({"step": place + 1, **asdict(record)} for place, record in enumerate(records))
    return FitOutcome(
        config=job.config("posterior", options, None, None),
        fitted=fitted,
        result="posterior",
        sentence="How closely the rows are followed was chosen by the rows themselves.",
        facts=facts,
        rows=(("steps", f"{steps} of the search, in {seconds:.1f} s"),),
        path=Path(history, kept, AXIS, picture, lines),
        certified=lambda: certified,
        story=_story(job),
        notes=tuple(notes),
    )


def _history(records: Sequence[TuningRecord]) -> dict[str, Rows]:
    columns = {name: np.array([getattr(record, name) for record in records]) for name in ("cost", "noise", "seconds")}
    return {"evaluation": np.arange(1.0, len(records) + 1.0), **columns}


def _story(job: Job) -> str:
    table = job.table
    rows, columns = len(table.split.train), table.inputs.shape[1]
    if table.target.classes:
        what, said = f"one of {len(table.target.classes)} classes", "a probability for each class"
    else:
        what, said = "a number", "an interval in which nine of ten new values lie"
    noise = "" if table.target.classes else ", and how much of them is taken to be noise,"
    return (
        f"From {rows} rows with {columns} input columns the program learnt to predict {table.target.name}, {what}. It "
        f"gives {said}. How closely the rows are followed{noise} was chosen by the rows themselves, not by hand. The "
        f"other {len(table.split.test)} rows were not used; the errors below are theirs."
    )
