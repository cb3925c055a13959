"""A table ready to be fitted: its target, its numbers and its split, with an account of what was done."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app.tables._encoding import Encoding
from geodescent.app.tables._shown import counted, quoted, shown
from geodescent.app.tables._split import Split, split_rows
from geodescent.app.tables._standard import Numbers
from geodescent.app.tables._target import TargetColumn, Targets, choose_target
from geodescent.app.tables.reading import RawTable, read_table

FEWEST_TABLE_ROWS = 10  # With a target: of fewer, a quarter to test on tells nothing.


@dataclass(frozen=True)
class PreparedTable:
    """A table with what a fit needs of it.

    Attributes:
        raw: as read.
        target: the column that is learnt.
        encoding: of the other columns, decided by the training part.
        split: numbers of rows of the file.
        inputs: `(n, d)` of all rows of the file.
        targets: `(n,)` of all rows, −1 or NaN where there is none.
        account: sentences on what was read, chosen, dropped, filled and moved.
    """

    raw: RawTable
    target: TargetColumn
    encoding: Encoding
    split: Split
    inputs: Numbers
    targets: Targets
    account: tuple[str, ...]


def prepare(
    data: str,
    *,
    target: str | None = None,
    task: Literal["auto", "regression", "classification"] = "auto",
    test_size: float = 0.25,
    seed: int = 0,
) -> PreparedTable:
    """The table of that name or file, split, with an encoding that its training rows decide.

    Args:
        data: a name of `DATA_SETS`, or the path of a file.
        target: name of the column to learn; None takes the last one.
        task: `auto` decides by the target.
        test_size: fraction of the rows to test on, in (0, 1).
        seed: of the split.

    Raises:
        InputError: no such data, or one that cannot be fitted; the sentence says why, and what to do.
    """
    return prepare_table(read_table(data), target=target, task=task, test_size=test_size, seed=seed)


def prepare_table(
    raw: RawTable,
    *,
    target: str | None = None,
    task: Literal["auto", "regression", "classification"] = "auto",
    test_size: float = 0.25,
    seed: int = 0,
) -> PreparedTable:
    """The same of a table that is read already; its own sentences begin the account."""
    if raw.frame.height < FEWEST_TABLE_ROWS:
        raise _too_few(raw, raw.frame.height, "")
    column, chosen = choose_target(raw, target, task)
    targets = column.values(raw.frame)
    absent = _absent(column, targets)
    dropped = int(absent.sum())
    if len(targets) - dropped < FEWEST_TABLE_ROWS:
        raise _too_few(raw, len(targets) - dropped, f" with an entry in {quoted(column.name)}")
    split, parts = split_rows(targets, column.task, test_size=test_size, seed=seed)
    encoding = Encoding.of(raw.frame[split.train], column.name, image=raw.image and column.name == raw.target)
    rows = counted(dropped, "row has", "rows have")
    said: tuple[str, ...] = (chosen,)
    if dropped:
        said += (f"{rows} no target and {'is' if dropped == 1 else 'are'} dropped.",)
    twice = raw.frame.height - raw.frame.n_unique()
    if twice:
        repeats = counted(twice, "row repeats", "rows repeat")
        said += (f"{repeats} an earlier one entry by entry: a copy may be in the training and in the test part.",)
    return _prepared(raw, column, encoding, split, (*raw.how_read, *said, parts))


def prepare_with(raw: RawTable, target: TargetColumn, encoding: Encoding, split: Split) -> PreparedTable:
    """The same for a run that is opened again, with its own target, encoding and split.

    Raises:
        InputError: the table has not the rows or the columns of the run.
    """
    rows = np.concatenate([split.train, split.test])
    if not len(rows) or rows.min() < 0 or rows.max() >= raw.frame.height:
        raise _of_another(raw, f"the run has rows up to {rows.max(initial=-1)}, the table {raw.frame.height} rows")
    if target.name not in raw.frame.columns:
        raise _of_another(raw, f"it has no column {quoted(target.name)}")
    prepared = _prepared(raw, target, encoding, split, raw.how_read)
    lost = int(_absent(target, prepared.targets)[rows].sum())
    if lost:
        raise _of_another(raw, f"{counted(lost, 'row')} of the run have no target in it")
    return prepared


def _prepared(
    raw: RawTable, target: TargetColumn, encoding: Encoding, split: Split, said: tuple[str, ...]
) -> PreparedTable:
    encoded = encoding.apply(raw.frame.drop(target.name))
    return PreparedTable(
        raw=raw,
        target=target,
        encoding=encoding,
        split=split,
        inputs=encoded.inputs,
        targets=target.values(raw.frame),
        account=(*said, *encoded.account),
    )


def _absent(target: TargetColumn, targets: Targets) -> NDArray[np.bool_]:
    """Where a row has no target."""
    return targets < 0 if target.task == "classification" else np.isnan(targets)


def _too_few(raw: RawTable, n: int, which: str) -> InputError:
    return InputError(
        f"{shown(raw.name)} has {counted(n, 'row')}{which}, and at least {FEWEST_TABLE_ROWS} are needed: add rows."
    )


def _of_another(raw: RawTable, why: str) -> InputError:
    return InputError(f"{shown(raw.name)} is of another table than the run ({why}): give the file of the run again.")
