"""What `geodescent fit | flow | certify` do, from a table to an answer."""

import time
from dataclasses import dataclass
from pathlib import Path

from geodescent import doors
from geodescent._files import own_file
from geodescent._memory import MB, highest_bytes
from geodescent.app._entries import Entries
from geodescent.app.commands._close import closed
from geodescent.app.commands._interrupted import going_on, saying_what_is_kept
from geodescent.app.commands._job import DataOptions, Job, NetworkAsked, ScaledTable
from geodescent.app.commands._network import FlowOptions, NetworkOptions, fitted_network, followed_flow
from geodescent.app.commands._opening import opened_table
from geodescent.app.commands._outcome import FitOutcome
from geodescent.app.commands._posterior import posterior_classes, posterior_regression
from geodescent.app.commands._resumed import ended_before, is_begun, require_resumable
from geodescent.app.commands._sentences import in_short_first, share, summed_up, told
from geodescent.app.report import Answer, in_options
from geodescent.app.runs import CERTIFICATE, CONFIG, RunFolder, load, named_folder, read_config, read_json
from geodescent.app.tables import DATA_SETS


@dataclass(frozen=True)
class RunOptions:
    """Where a run goes, and how much is said.

    Attributes:
        out: the run's folder, or None for one of its own.
        resume: whether it goes on from what is there.
        verbose: a line for each step.
    """

    out: str | None = None
    resume: bool = False
    verbose: bool = False


@dataclass(frozen=True)
class FitOptions:
    """What the command was asked to fit.

    Attributes:
        mode: "auto", "posterior" or "exact".
        network: of the exact mode.
        exact_only: the options given that only the exact mode uses.
    """

    mode: str
    network: NetworkOptions
    exact_only: tuple[str, ...]


def fit_table(asked: DataOptions, options: FitOptions, run: RunOptions, answer: Answer) -> Entries:
    """`geodescent fit`: the answer, a mapping for JSON."""
    job = _job("fit", asked, run, answer)
    with job.folder.alone(), saying_what_is_kept(job.folder.path, resumable=True):
        if run.resume and is_begun(job):
            require_resumable(job, options.mode, options.network.network.choice(job.table), options.exact_only)
        ended = ended_before(job)
        if ended is not None:
            answer.say(f"The run in {job.folder.path} has ended; this is its result again.\n\n{_again(ended)}")
            return ended
        mode, why = _mode(options, job)
        if why:
            answer.say(f"\n{why}")
        return _finished(job, _fitted(job, mode, options, answer))


def follow_flow(asked: DataOptions, options: FlowOptions, run: RunOptions, answer: Answer) -> Entries:
    """`geodescent flow`: the answer, a mapping for JSON."""
    job = _job("flow", asked, run, answer)
    with job.folder.alone(), saying_what_is_kept(job.folder.path, resumable=False):
        return _finished(job, followed_flow(job, options))


def certify_table(asked: DataOptions, network: NetworkAsked, target_cost: float | None, answer: Answer) -> Entries:
    """`geodescent certify` of data, or of a run: the answer, a mapping for JSON."""
    started = time.perf_counter()
    if asked.data not in DATA_SETS and Path(asked.data).is_dir():
        run = load(asked.data)
        found = read_json(run.path, CERTIFICATE)
        answer.say(in_short_first(str(found.pop("words", "There is no certificate in words."))))
        folder: str | None = str(run.path)
    else:
        table = opened_table(asked, answer)
        choice = network.choice(table)
        data = ScaledTable.of(table, choice)
        model = choice.network(data.X.shape[1], data.y.shape[1], asked.seed).to(choice.device)
        certificate = doors.certify(model, data.X, data.y, target_cost=target_cost)
        answer.say(f"\n{in_short_first(in_options(str(certificate)))}")
        found, folder = certificate.as_dict(), None
    return {
        "certificate": dict(found),
        "seconds": time.perf_counter() - started,
        "peak_mb": highest_bytes() / MB,
        "data": asked.data,
        "run": folder,
    }


def _job(command: str, asked: DataOptions, run: RunOptions, answer: Answer) -> Job:
    """The table read and split, and a folder; what was read is said."""
    name = asked.data if asked.data in DATA_SETS else Path(asked.data).stem
    folder = RunFolder(named_folder(run.out, name=f"{name}-{command}", resume=run.resume), run.resume)
    return Job(command, asked, opened_table(asked, answer), folder, answer, run.verbose)


def _mode(options: FitOptions, job: Job) -> tuple[str, str]:
    """How the table is fitted, and a sentence that says why."""
    folder = job.folder
    if folder.resumed and own_file(folder.path / CONFIG):
        return read_config(folder.path).mode, ""
    if options.mode != "auto":
        return options.mode, ""
    if options.exact_only:
        given = ", ".join(options.exact_only)
        return "exact", f"Mode: exact, as {given} asks for. --mode posterior takes noise into account."
    if job.table.raw.image:
        return "exact", "Mode: exact, since images of digits have no noise to speak of. --mode posterior changes it."
    return "auto", ""


def _fitted(job: Job, mode: str, options: FitOptions, answer: Answer) -> FitOutcome:
    if mode == "exact":
        return fitted_network(job, options.network)
    kept = {"max_seconds": options.network.max_seconds}
    if job.table.target.classes:
        if mode == "auto":
            answer.say("\nMode: posterior, with a probability for each class. --mode exact fits a network instead.")
        return posterior_classes(job, kept)
    outcome = posterior_regression(job, kept)
    if mode == "auto" and outcome.certified().entries["noise_free"]:
        answer.say("\nMode: exact, since no noise was found in the target. --mode posterior changes it.")
        return _nearer(job, fitted_network(job, options.network), outcome)
    if mode == "auto":
        noise = share(outcome.certified().entries["noise"])
        answer.say(f"\nMode: posterior, as about {noise} of the target's variance is noise: --mode exact fits it, too.")
    return outcome


def _nearer(job: Job, exact: FitOutcome, posterior: FitOutcome) -> FitOutcome:
    """The one that misses rows left out by less: without noise either may be a hundred times nearer than the other."""
    missed, by_posterior = exact.fitted.left_out, posterior.fitted.left_out
    if missed is None or by_posterior is None or missed <= by_posterior or exact.result == "interrupted":
        return exact
    job.folder.discard()
    job.answer.say(
        f"\nMode: posterior after all: it misses rows left out by {by_posterior:.3g}, and the network by {missed:.3g}. "
        "--mode exact keeps the network."
    )
    return posterior


def _finished(job: Job, outcome: FitOutcome) -> Entries:
    content = closed(job, outcome)
    job.answer.say("\n" + summed_up(job, outcome, content))
    if outcome.result == "interrupted" and job.command == "fit":
        job.answer.say(f"\nTo go on from here: {going_on(job.folder.path)}")
    return content


def _again(result: Entries) -> str:
    return "\n".join([told(dict(result.get("test", {}))), "", str(result.get("verdict", ""))])
