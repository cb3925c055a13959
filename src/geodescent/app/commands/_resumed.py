"""A run that goes on: what is in its folder must be the run that the options and the table ask for."""

from collections.abc import Iterator

from geodescent._errors import InputError
from geodescent._files import own_file
from geodescent.app._entries import Entries
from geodescent.app.commands._job import Job
from geodescent.app.fitted import POSTERIOR, WEIGHTS, NetworkChoice
from geodescent.app.runs import CONFIG, FILES, RESULT, STATE_FOLDER, Config, load, read_config

UNFINISHED = ("interrupted", "max_steps", "max_seconds", "stopped")
"""Names of results of a run that goes on where it is resumed."""


def is_begun(job: Job) -> bool:
    """Whether the folder holds a run to go on with; if not, it is said that the run begins anew.

    Raises: InputError, where the folder holds no run, and files that a run would write.
    """
    path = job.folder.path
    if own_file(path / CONFIG):
        return True
    stray = [name for name in FILES if name != STATE_FOLDER and (path / name).exists()]
    if stray:
        raise InputError(
            f"{path} holds no run to go on with, but {', '.join(stray)}: give the folder of a run with --out, or leave "
            "--resume out to begin one elsewhere."
        )
    job.answer.say(f"There is no run in {path} to go on with: it begins anew.")
    return False


def require_resumable(job: Job, mode: str, network: NetworkChoice, exact_only: tuple[str, ...]) -> None:
    """Raises InputError, where the folder that is resumed holds a run of another table or of other options.

    Args:
        job: whose folder it is.
        mode: that was asked for: "auto" is any.
        network: that was asked for.
        exact_only: the options given that only the exact mode uses.
    """
    path = job.folder.path
    there = read_config(path)
    other = [f"{name} {was} there and {now} here" for name, was, now in _pairs(there, job, mode, network) if was != now]
    if other:
        raise InputError(
            f"{path} holds a run of other options ({', '.join(other)}): give the same ones, or choose another folder "
            "with --out."
        )
    if there.network is None and exact_only:
        raise InputError(
            f"{path} holds a run of the posterior mode, which {', '.join(exact_only)} would not change: leave it out, "
            "or choose another folder with --out."
        )
    if there.data.digest != job.digest():
        raise InputError(
            f"{path} holds a run of another table, {there.data.name}: give the data that it was begun with, or choose "
            "another folder with --out."
        )


def ended_before(job: Job) -> Entries | None:
    """The result of the run that is resumed, where it had ended. Raises InputError, where it cannot be opened."""
    path = job.folder.path
    saved = any(own_file(path / name) for name in (POSTERIOR, WEIGHTS))
    if not (job.folder.resumed and own_file(path / RESULT) and saved):
        return None
    result = load(path).result
    return None if result.get("result") in UNFINISHED else dict(result)


def _pairs(there: Config, job: Job, mode: str, network: NetworkChoice) -> Iterator[tuple[str, str, str]]:
    """Options by their names, as they were in the run and as they are now."""
    target, asked = job.table.target, job.asked
    yield "command", there.command, job.command
    yield "--target", there.target.name, target.name
    yield "--task", there.target.task, target.task
    yield "--seed", str(there.data.seed), str(asked.seed)
    yield "--test-size", f"{there.data.test_size:g}", f"{asked.test_size:g}"
    yield "--mode", there.mode, there.mode if mode == "auto" else mode
    if there.network is not None:
        yield "--hidden", _widths(there.network), _widths(network)
        yield "--activation", there.network.activation, network.activation
        yield "--dtype", there.network.dtype, network.dtype
        yield "--device", there.network.device, network.device


def _widths(network: NetworkChoice) -> str:
    return ",".join(map(str, network.hidden)) or "none"
