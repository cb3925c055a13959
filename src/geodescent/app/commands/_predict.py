"""`geodescent predict`: a table back, with what a run says of its rows."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent._files import put_whole
from geodescent.app._entries import Entries
from geodescent.app._scores import measured_beside
from geodescent.app.commands._sentences import told
from geodescent.app.commands._written import PLAIN_FORMS, WRITTEN_KINDS, write_table
from geodescent.app.fitted import INTERVAL_LEVEL, Predicted, Rows
from geodescent.app.report import Answer, metrics_of
from geodescent.app.runs import Run, digest_of, load
from geodescent.app.tables import RawTable, counted, read_table, shown

SHOWN_ROWS = 5  # That are printed: enough to see what the columns hold.


def predicted_table(run_folder: str, data: str, out: str | None, level: float | None, answer: Answer) -> Entries:
    """Predicts the rows of a table, writes it with the predictions beside, and answers with what was found.

    Raises: InputError, where the run or the table cannot be read, columns are missing, or the file is there already.
    """
    if level is not None and not 0.0 < level < 1.0:
        raise InputError(f"--level {level:g}: a share between 0 and 1 is needed, such as --level 0.9.")
    run = load(run_folder)
    if level is not None and run.config.target.classes:
        raise InputError(
            "--level is for intervals, and this run predicts classes, with a probability each: leave it out."
        )
    raw = read_table(data)
    for sentence in raw.how_read:
        answer.say(sentence)
    path = _free_path(out, raw.name)
    encoded = run.config.encoding.apply(raw.frame.drop(run.config.target.name, strict=False))
    predicted = run.fitted.predicted(encoded.inputs, INTERVAL_LEVEL if level is None else level)
    for sentence in encoded.account:
        answer.say(sentence)
    measured = _measured(run, raw, encoded.inputs)
    table = with_predictions(raw.frame, run, predicted)
    try:
        put_whole(path, lambda draft: write_table(table, raw, path.suffix.lower(), draft))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} could not be written ({error}): choose another file with --out.") from error
    rows = measured_beside(predicted.at(measured.rows), measured.targets[measured.rows])
    metrics = metrics_of(rows) if measured.rows.any() else {}
    _say(answer, table, len(raw.frame.columns))
    if metrics:
        answer.say(f"\n{told(metrics)} ({measured.which})")
    elif measured.which:
        answer.say(f"\n{measured.which}")
    answer.say(f"\nwritten to {path}")
    return {
        "run": str(run.path),
        "data": data,
        "rows": len(table),
        "out": str(path),
        "columns": table.columns[len(raw.frame.columns) :],
        "test": metrics,
        "account": list(encoded.account),
    }


def with_predictions(frame: pl.DataFrame, run: Run, predicted: Predicted) -> pl.DataFrame:
    """The table with columns of predictions on its right; a name that is there already gets a number."""
    classes = run.config.target.classes
    percent = f"{100.0 * predicted.level:g} %"
    columns: Entries = {}
    if predicted.probabilities is not None:
        columns["prediction"] = np.array(classes)[predicted.mean.astype(np.int64)]
        for place, label in enumerate(classes):
            columns[f"probability of {label}"] = predicted.probabilities[:, place]
    else:
        columns["prediction"] = predicted.mean
        of_interval = {
            "standard deviation": predicted.deviation,
            f"lower {percent}": predicted.lower,
            f"upper {percent}": predicted.upper,
        }
        columns |= {name: values for name, values in of_interval.items() if values is not None}
    names = set(frame.columns)
    for name, values in columns.items():
        free = name if name not in names else next(f"{name} {n}" for n in range(2, 1000) if f"{name} {n}" not in names)
        names.add(free)
        frame = frame.with_columns(pl.Series(free, values))
    return frame


def _free_path(out: str | None, name: str) -> Path:
    """Where the table is written to, which nothing is lost by."""
    path = Path(out) if out is not None else Path(f"{Path(name).stem}-predicted{_suffix_like(name)}")
    if path.suffix.lower() not in WRITTEN_KINDS:
        raise InputError(f"{path} is of no kind that is written: choose --out FILE with {', '.join(WRITTEN_KINDS)}.")
    if os.path.lexists(path):
        raise InputError(f"{path} is there already: remove it, or choose another file with --out.")
    if not path.parent.is_dir():
        raise InputError(
            f"There is no folder {path.parent} for {path.name}: make it, or choose another file with --out."
        )
    return path


def _suffix_like(name: str) -> str:
    """Of a table that is written where nobody names a file: of text as it was read, else .csv."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in PLAIN_FORMS else ".csv"


@dataclass(frozen=True)
class Measured:
    """Rows whose target is in the table.

    Attributes:
        targets: NaN, or −1, where there is none, (n,).
        rows: those that predictions are measured on, (n,).
        which: what they are, in words.
    """

    targets: Rows
    rows: NDArray[np.bool_]
    which: str


def _measured(run: Run, raw: RawTable, inputs: Rows) -> Measured:
    """Rows with a target; of the table that the run was fitted on those of the test part alone."""
    config = run.config
    if config.target.name not in raw.frame.columns:
        return Measured(np.zeros(len(inputs)), np.zeros(len(inputs), dtype=np.bool_), "")
    try:
        targets = config.target.values(raw.frame).astype(np.float64)
    except InputError as error:  # the target is what predictions do without
        none = np.zeros(len(inputs), dtype=np.bool_)
        return Measured(np.zeros(len(inputs)), none, f"The errors are not measured. {error}")
    known = targets >= 0.0 if config.target.classes else np.isfinite(targets)
    if digest_of(config.target, config.encoding, inputs, targets) != config.data.digest:
        return Measured(targets, known, f"of {counted(int(known.sum()), 'row')} with a target")
    known[run.train_index] = False
    n = counted(int(known.sum()), "test row")
    return Measured(targets, known, f"of {n}; the run was fitted on the others")


def _say(answer: Answer, table: pl.DataFrame, n_before: int) -> None:
    """The first rows of what was predicted."""
    new = table.columns[n_before:]
    lines = [[shown(name) for name in new]]
    for row in table[new].head(SHOWN_ROWS).iter_rows():
        lines.append([f"{value:.4g}" if isinstance(value, float) else shown(str(value)) for value in row])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    answer.say("\n" + "\n".join(line.rstrip() for line in aligned))
    if len(table) > SHOWN_ROWS:
        answer.say(f"… {len(table)} rows in all")
