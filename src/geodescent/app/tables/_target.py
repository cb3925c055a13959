"""The column that is to be told from the others: classes, or a real number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app.tables._entries import require_keys, text_of, texts_of
from geodescent.app.tables._rules import gaps_of, numbers_of
from geodescent.app.tables._series import as_reals, as_texts, spelled
from geodescent.app.tables._shown import closest, counted, listed, quoted, shown
from geodescent.app.tables.reading import DATA_SETS, RawTable, Task

MOST_CLASSES = 100  # Of more classes each has too few rows to be learnt, and the column is most likely no class.
FEW_INTEGERS = 10  # Different whole numbers up to which a target is taken for classes.

Targets = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True)
class TargetColumn:
    """The target of a table.

    Attributes:
        name: of the column.
        task: classification or regression.
        classes: names in the file's own spelling, sorted; empty for a regression.
    """

    name: str
    task: Task
    classes: tuple[str, ...] = ()

    def values(self, frame: pl.DataFrame) -> Targets:
        """Targets `(n,)`: numbers of classes, −1 where missing or of no known class; or reals, NaN where missing.

        Raises:
            InputError: the table lacks the column, or a regression's target holds text, or an infinite number.
        """
        if self.name not in frame.columns:
            raise InputError(f"The table has no column {quoted(self.name)}.{closest(self.name, frame.columns)}")
        column = frame[self.name]
        if self.task == "regression":
            numbers, infinite = numbers_of(column)
            if infinite:
                raise InputError(
                    f"The target {quoted(self.name)} has {counted(infinite, 'number')} infinite or beyond 1e100: "
                    "correct them, or leave these entries empty and their rows are dropped."
                )
            return numbers
        numbers_of_classes = {name: number for number, name in enumerate(self.classes)}
        codes = spelled(column).replace_strict(numbers_of_classes, default=-1, return_dtype=pl.Int64)
        return codes.fill_null(-1).to_numpy().astype(np.int64)

    def as_dict(self) -> dict[str, object]:
        """The column, for JSON."""
        return {"name": self.name, "task": self.task, "classes": list(self.classes)}

    @staticmethod
    def from_dict(entries: Mapping[str, object]) -> "TargetColumn":
        """The inverse of `as_dict`, of a file that somebody else may have written.

        Raises:
            KeyError, TypeError, ValueError: the entries are not those of a target.
        """
        require_keys(entries, ("name", "task", "classes"))
        classes, task = texts_of(entries["classes"], MOST_CLASSES), text_of(entries["task"])
        tasks: dict[str, Task] = {"classification": "classification", "regression": "regression"}
        if task not in tasks or (task == "regression") != (not classes) or len(classes) == 1:
            raise ValueError(f"task {shown(task)!r} with {len(classes)} classes")
        return TargetColumn(text_of(entries["name"]), tasks[task], classes)


def choose_target(
    raw: RawTable, name: str | None, task: Literal["auto", "regression", "classification"] = "auto"
) -> tuple[TargetColumn, str]:
    """The target of a table, and a sentence on what was chosen and how to choose otherwise.

    Args:
        raw: the table.
        name: of the column; None takes the table's own, the last column of a file.
        task: `auto` takes text, booleans, and whole numbers of at most 10 different values for classes.

    Raises:
        InputError: no such column, one class or too many, or a regression on what is no number.
    """
    column = _column(raw, name)
    given = column.filter(pl.Series(~gaps_of(column)))
    if not len(given):
        raise InputError(f"The target {quoted(column.name)} has no entry at all: name another one with --target.")
    chosen: Task = _task(given) if task == "auto" else task
    of_set = raw.name in DATA_SETS and column.name == raw.target
    why = f"{_why(given, chosen, of_set=of_set)} (--task)" if task == "auto" else "as --task says"
    where = "the last column" if name is None and column.name == raw.frame.columns[-1] else "a column of the table"
    if chosen == "regression":
        _require_numbers(given)
        told = f"a number, as {why}" if task == "auto" else f"a number, {why}"
        said = f"Target: {quoted(column.name)}, {where} (--target changes it): {told}."
        return TargetColumn(column.name, chosen), said
    classes = _classes(given)
    names = listed([shown(each, 30) for each in classes])
    told = f"{len(classes)} classes ({names}), {'as ' if task == 'auto' else ''}{why}"
    target = TargetColumn(column.name, chosen, classes)
    return target, f"Target: {quoted(column.name)}, {where} (--target changes it): {told}."


def _column(raw: RawTable, name: str | None) -> pl.Series:
    """The column of that name, or the table's own target."""
    names = raw.frame.columns
    columns = listed([quoted(each) for each in names])
    wanted = raw.target if name is None else name
    if wanted is None:
        raise InputError(f"{shown(raw.name)} holds no target: name one of its columns with --target: {columns}.")
    if wanted not in names:
        raise InputError(
            f"{shown(raw.name)} has no column {quoted(wanted)}.{closest(wanted, names)} Name one of these with "
            f"--target: {columns}."
        )
    return raw.frame[wanted]


def _task(given: pl.Series) -> Task:
    if given.dtype in (pl.String, pl.Boolean):
        return "classification"
    few = given.n_unique() <= FEW_INTEGERS and 2 * given.n_unique() < len(given)
    return "classification" if given.dtype.is_integer() and few else "regression"


def _why(given: pl.Series, task: Task, *, of_set: bool) -> str:
    """The reason of the choice, as a clause; the classes of a known data set are its own, whatever their names."""
    if of_set and task == "classification":
        return "the data set comes with them"
    if given.dtype == pl.Boolean:
        return "it holds true and false"
    if given.dtype == pl.String:
        return "it holds text"
    if task == "classification":
        return f"it holds {given.n_unique()} different whole numbers"
    return f"it holds {given.n_unique():,} different numbers"


def _require_numbers(given: pl.Series) -> None:
    """Raises InputError where a regression has no numbers, or one number alone."""
    if not given.dtype.is_numeric():
        kind = "no number" if as_reals(as_texts(given))[0] is None else "the name of a class"
        raise InputError(
            f"The target {quoted(given.name)} holds {quoted(str(given[0]))}, which is {kind}: a regression needs "
            "numbers. Take --task classification, or name another column with --target."
        )
    if given.n_unique() == 1:
        raise InputError(
            f"The target {quoted(given.name)} is {given[0]} in every row: there is nothing to learn. Name another "
            "column with --target."
        )


def _classes(given: pl.Series) -> tuple[str, ...]:
    """The different entries, sorted: numbers by size, text by its letters."""
    texts = spelled(given).unique().to_list()
    classes = sorted(texts, key=float) if given.dtype.is_numeric() else sorted(texts)
    if len(classes) == 1:
        raise InputError(
            f"The target {quoted(given.name)} has one class alone, {quoted(classes[0])}: two are needed. Name another "
            "column with --target."
        )
    if len(classes) > MOST_CLASSES or 2 * len(classes) >= len(given):
        way = "take --task regression, or name" if given.dtype.is_numeric() else "name"
        raise InputError(
            f"The target {quoted(given.name)} has {len(classes):,} different entries in {len(given):,} rows, such as "
            f"{quoted(classes[0])}: too many for classes (at most {MOST_CLASSES}, and fewer than half of the rows). "
            f"To go on, {way} another column with --target."
        )
    return tuple(classes)
