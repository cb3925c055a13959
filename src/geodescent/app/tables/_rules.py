"""What is done with one column: a rule for each kind, with the verbs `features`, `encode`, `what` and `as_dict`."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app.tables._entries import Entries, dict_of, flag_of, number_of, require_keys, text_of
from geodescent.app.tables._series import as_reals, as_texts, spelled
from geodescent.app.tables._shown import counted, quoted, shown
from geodescent.app.tables._standard import MOST_DEVIATIONS, Numbers, Standard, numbers_with_gaps
from geodescent.app.tables.reading import MISSING_NUMBERS


@dataclass(frozen=True)
class EncodedColumn:
    """The features `(n, k)` of one column, and how many of its entries were not taken as they are.

    Attributes:
        values: finite.
        missing: entries that were filled.
        marked: missing entries that are not filled, but taken as a value of their own.
        infinite: of these, numbers that are infinite or beyond 1e100.
        far: numbers that were moved to a limit.
        unseen: levels that the training part did not hold.
    """

    values: Numbers
    missing: int = 0
    marked: int = 0
    infinite: int = 0
    far: int = 0
    unseen: int = 0


@dataclass(frozen=True)
class ColumnRule(ABC):
    """What is done with one column of a table.

    Attributes:
        name: of the column, as in the file.
    """

    name: str
    kind: ClassVar[str]

    @property
    @abstractmethod
    def features(self) -> tuple[str, ...]:
        """Names of the numbers that it gives; none for a column that is left out."""

    @abstractmethod
    def what(self) -> str:
        """What is done with the column, for people."""

    @abstractmethod
    def encode(self, column: pl.Series) -> EncodedColumn:
        """The features of a column. Raises InputError for entries of another kind than in the training part."""

    def as_dict(self) -> dict[str, object]:
        """The rule, for JSON."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class NumberRule(ColumnRule):
    """A column of numbers: `(v − mean)/scale`, and whether the number is missing.

    Attributes:
        standard: median, limits, mean and scale of the training part.
        missing: whether an entry of the training part is missing.
        far: numbers of the training part beyond the limits.
    """

    standard: Standard
    missing: bool
    far: int = 0
    kind: ClassVar[str] = "number"

    @property
    def features(self) -> tuple[str, ...]:
        """The number, and the indicator where there is one."""
        return (self.name, *missing_name(self.name, self.missing))

    def what(self) -> str:
        """Scaling, filling and limits."""
        s = self.standard
        filled = f"; missing ones filled with the median, {s.fill:.4g}, and marked" if self.missing else ""
        numbers = counted(self.far, "number")
        moved = f"; {numbers} beyond {s.low:.4g} … {s.high:.4g} moved to that limit" if self.far else ""
        return f"used, scaled{filled}{moved}"

    def encode(self, column: pl.Series) -> EncodedColumn:
        """z, and 0 or 1 for the indicator."""
        values, infinite = numbers_of(column)
        scaled, far = self.standard.apply(values)
        absent = np.isnan(values)
        return EncodedColumn(
            with_indicator(scaled, absent, self.missing), int(absent.sum()), infinite=infinite, far=far
        )

    @staticmethod
    def from_dict(entries: Entries) -> "NumberRule":
        """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError."""
        require_keys(entries, ("kind", "name", "standard", "missing", "far"))
        return NumberRule(
            text_of(entries["name"]),
            standard_of(entries["standard"]),
            flag_of(entries["missing"]),
            count_of(entries["far"]),
        )


@dataclass(frozen=True)
class BooleanRule(ColumnRule):
    """A column of two answers, or one that is given or not: 0 or 1.

    Attributes:
        fill: in the place of missing answers, the more frequent one.
        missing: whether an entry of the training part is missing.
        answers: whether the answers differ; if not, the indicator alone is left.
    """

    fill: bool
    missing: bool
    answers: bool = True
    kind: ClassVar[str] = "boolean"

    @property
    def features(self) -> tuple[str, ...]:
        """The answer, and the indicator."""
        return (*((self.name,) if self.answers else ()), *missing_name(self.name, self.missing))

    def what(self) -> str:
        """0 and 1, and what stands for missing answers."""
        if not self.answers:
            return "1 where it is missing, 0 where it has its one value"
        filled = f"; missing ones filled with {int(self.fill)} and marked" if self.missing else ""
        return f"0 for false, 1 for true{filled}"

    def encode(self, column: pl.Series) -> EncodedColumn:
        """0 and 1; an answer that is neither counts as unseen and is filled."""
        if not self.answers:
            absent = gaps_of(column)
            return EncodedColumn(absent[:, None].astype(np.float64), marked=int(absent.sum()))
        truth = truth_of(column)
        absent, unknown = gaps_of(column), truth.is_null().to_numpy()
        values = as_reals(truth.fill_null(self.fill)).to_numpy()
        unseen = int((unknown & ~absent).sum())
        return EncodedColumn(with_indicator(values, absent, self.missing), int(absent.sum()), unseen=unseen)

    @staticmethod
    def from_dict(entries: Entries) -> "BooleanRule":
        """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError."""
        require_keys(entries, ("kind", "name", "fill", "missing", "answers"))
        flags = (flag_of(entries[key]) for key in ("fill", "missing", "answers"))
        return BooleanRule(text_of(entries["name"]), *flags)


@dataclass(frozen=True)
class LeftOutRule(ColumnRule):
    """A column that is not used.

    Attributes:
        reason: why, for people.
    """

    reason: str
    kind: ClassVar[str] = "left out"
    features: tuple[str, ...] = field(default=(), init=False, repr=False)

    def what(self) -> str:
        """The reason."""
        return shown(self.reason, 200)

    def encode(self, column: pl.Series) -> EncodedColumn:
        """No feature."""
        return EncodedColumn(np.empty((len(column), 0)))

    def as_dict(self) -> dict[str, object]:
        """The rule, for JSON."""
        return {"kind": self.kind, "name": self.name, "reason": self.reason}

    @staticmethod
    def from_dict(entries: Entries) -> "LeftOutRule":
        """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError."""
        require_keys(entries, ("kind", "name", "reason"))
        return LeftOutRule(text_of(entries["name"]), text_of(entries["reason"]))


WORDS = ({"true": True, "false": False}, {"yes": True, "no": False}, {"t": True, "f": False}, {"y": True, "n": False})
"""Pairs of answers in text, in small letters."""

TRUTHS = {word: truth for pair in WORDS for word, truth in pair.items()} | {"1": True, "0": False}
"""What each answer means; where the training part held words, later tables may hold 1 and 0."""


STANDARD_ENTRIES = tuple(entry.name for entry in dataclasses.fields(Standard))
"""What a file tells of a scaling."""


def truth_of(column: pl.Series) -> pl.Series:
    """True and false, null where an entry is missing or no answer."""
    words = spelled(column).str.strip_chars().str.to_lowercase()
    return words.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)


def numbers_of(column: pl.Series) -> tuple[Numbers, int]:
    """The numbers of a column, NaN where missing, and how many were infinite.

    Raises:
        InputError: the column holds text, or dates.
    """
    given = column
    if column.dtype == pl.String:
        given = column.set(column.str.strip_chars().is_in(MISSING_NUMBERS), None)
    dated = column.dtype.is_temporal()
    numbers = as_reals(as_texts(given) if dated else given)
    wrong = given.filter(numbers.is_null() & given.is_not_null())
    if len(wrong):
        raise InputError(
            f"Column {quoted(column.name)} held numbers in the fit, and now it holds {quoted(str(wrong[0]))}: correct "
            "that entry, or leave it empty if it is missing."
        )
    return numbers_with_gaps(numbers.fill_null(float("nan")).to_numpy().astype(np.float64))


def gaps_of(column: pl.Series) -> NDArray[np.bool_]:
    """Where an entry is missing."""
    gaps = column.is_null()
    return (gaps | column.is_nan().fill_null(True) if column.dtype.is_float() else gaps).to_numpy()


def with_indicator(values: Numbers, absent: NDArray[np.bool_], indicated: bool) -> Numbers:
    """Features `(n, k)`: the values `(n,)` or `(n, k)`, and beside them whether the entry is missing."""
    columns = values[:, None] if values.ndim == 1 else values
    return np.column_stack([columns, absent]) if indicated else columns


def missing_name(name: str, indicated: bool) -> tuple[str, ...]:
    """The name of the indicator, where there is one."""
    return (f"{name} is missing",) if indicated else ()


def standard_of(value: object) -> Standard:
    """The scaling of a JSON object. Raises KeyError, TypeError or ValueError."""
    entries = dict_of(value)
    require_keys(entries, STANDARD_ENTRIES)
    standard = Standard(*(number_of(entries[key]) for key in STANDARD_ENTRIES))
    if not (standard.scale > 0.0 and standard.low <= standard.high):
        raise ValueError(f"scale {standard.scale}, limits {standard.low} and {standard.high}")
    reach = max(abs(standard.low - standard.mean), abs(standard.high - standard.mean))
    if reach > 2.0 * MOST_DEVIATIONS * standard.scale:
        raise ValueError("limits that lie further off than the scaling allows")
    return standard


def count_of(value: object) -> int:
    """The value, if it is a number of entries. Raises TypeError or ValueError."""
    number = number_of(value)
    if number < 0.0 or number != int(number):
        raise ValueError(f"{number} in the place of a number of entries")
    return int(number)
