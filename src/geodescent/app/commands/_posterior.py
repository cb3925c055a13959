"""The posterior mode: what noisy data bear, with error bars."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from geodescent import doors
from geodescent.app.commands._job import Job
from geodescent.app.commands._outcome import Certified, Outcome, Path
from geodescent.app.fitted import FittedClasses, FittedRegression
from geodescent.app.report import ProgressBar
from geodescent.app.tables import shown
from geodescent.generalisation import class_posterior_of

NOISE_FREE, PREDICTABLE = 2e-6, 1e-4
"""Shares of the targets' variance: noise, and the mean square of rows left out, below which all is interpolated."""


def posterior_regression(job: Job, options: Mapping[str, Any]) -> Outcome:
    """The posterior of a regression."""
    begin, train = time.perf_counter(), job.table.split.train
    with ProgressBar("", verbose=job.verbose) as bar:
        bar.say("prior and noise are chosen by the evidence …")
        posterior = doors.fit_posterior(
            job.table.inputs[train],
            job.table.targets[train],
            seed=job.asked.seed,
            max_seconds=options["max_seconds"],
        )
    fitted, seconds = FittedRegression(posterior), time.perf_counter() - begin
    share, name, spread = posterior.noise, shown(job.table.target.name), float(job.table.targets[train].std())
    entries = {
        "noise": share,
        "left_out_rmse": fitted.left_out,
        "left_out_score": posterior.left_out_score,
        "rows": len(train),
        "inputs": job.table.inputs.shape[1],
    }
    words = (
        f"{share:.1%} of the variance of {name} is taken to be noise, which no function of these columns predicts: to "
        "fit more closely would be to fit the noise.\n"
        f"Each row predicted without itself is off by {fitted.left_out:.4g} (root mean square), R² "
        f"{posterior.left_out_score:.3f}: that is what to expect of new rows of the same kind.\n"
        "What would help: columns that say more about the target; more rows, where that error is well above the "
        f"noise of {share**0.5 * spread:.4g}."
    )
    return _outcome(job, options, fitted, seconds, entries, words, posterior.notes)


def posterior_classes(job: Job, options: Mapping[str, Any]) -> Outcome:
    """The posterior of classes."""
    begin, train = time.perf_counter(), job.table.split.train
    inputs, labels = job.table.inputs[train], job.table.targets[train].astype(np.int64)
    with ProgressBar("", verbose=job.verbose) as bar:
        bar.say("the prior is chosen by the evidence …")
        posterior = class_posterior_of(
            torch.from_numpy(np.ascontiguousarray(inputs)),
            torch.from_numpy(labels),
            torch.ones(len(train), dtype=torch.float64, device="cpu"),
            seed=job.asked.seed,
        )
    fitted, seconds = FittedClasses(posterior), time.perf_counter() - begin
    shares = np.bincount(labels) / len(labels)
    of_shares = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    entries = {
        "left_out_log_loss": fitted.left_out,
        "log_loss_of_shares": of_shares,
        "rows": len(train),
        "inputs": job.table.inputs.shape[1],
    }
    words = (
        f"Each row predicted without itself has a log loss of {fitted.left_out:.4g} on average, where the shares of "
        f"the classes alone have {of_shares:.4g}: that is what to expect of new rows of the same kind.\n"
        "Probabilities are calibrated on these rows: of those that are given 80 %, about 80 % are right.\n"
        "What would help: columns that say more about the class; more rows of the rarer classes."
    )
    return _outcome(job, options, fitted, seconds, entries, words, posterior.notes)


def _outcome(
    job: Job,
    options: Mapping[str, Any],
    fitted: FittedRegression | FittedClasses,
    seconds: float,
    entries: Mapping[str, Any],
    words: str,
    notes: list[str],
) -> Outcome:
    config = job.config("posterior", options, None, None)
    facts = {
        "cost": None,
        "cost0": None,
        "target_cost": None,
        "steps": 0,
        "seconds": seconds,
        "resumed_from": None,
        "stats": {"notes": notes},
    }
    return Outcome(
        config=config,
        fitted=fitted,
        result="posterior",
        sentence="what these rows say of new ones is worked out",
        facts=facts,
        rows=(("time", f"{seconds:.1f} s"),),
        path=Path({"step": np.zeros(0), "cost": np.zeros(0)}, 0, "minus log evidence", None),
        certified=lambda: Certified(words, entries),
        story=_story(job),
        notes=tuple(notes),
    )


def _story(job: Job) -> str:
    table = job.table
    rows, columns = len(table.split.train), table.inputs.shape[1]
    if table.target.classes:
        what, said = f"one of {len(table.target.classes)} classes", "a probability for each class"
    else:
        what, said = "a number", "an interval in which nine of ten new values lie"
    return (
        f"From {rows} rows with {columns} input columns the program learnt to predict {table.target.name}, {what}. It "
        f"gives {said}. How closely the rows are followed, and how much of them is taken to be noise, was chosen by "
        f"the rows themselves (by the evidence), not by hand. The other {len(table.split.test)} rows were not used; "
        "the errors below are theirs."
    )
