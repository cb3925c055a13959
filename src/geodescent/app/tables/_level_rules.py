"""Rules for columns of text with few levels, and for columns of dates."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from geodescent.app.tables._dates import DATE_FORMS, moments, spelled_form
from geodescent.app.tables._entries import Entries, flag_of, require_keys, text_of, texts_of
from geodescent.app.tables._rules import (
    ColumnRule,
    EncodedColumn,
    gaps_of,
    missing_name,
    standard_of,
    with_indicator,
)
from geodescent.app.tables._series import spelled
from geodescent.app.tables._shown import counted, listed, shown
from geodescent.app.tables._standard import Numbers, Standard

MOST_LEVELS = 30  # Levels of a column that have a feature of their own; the rest are pooled.
MOST_POOLED = 1000  # Names of pooled levels that are kept, to tell them from unseen ones.
SEEN_BY = 5  # Training rows that show a level, below which it is pooled; in small tables a twentieth of the rows.

DATE_PARTS = {"month": 12.0, "weekday": 7.0, "hour": 24.0}
"""Parts of a date that return, and after how many steps."""


@dataclass(frozen=True)
class CategoryRule(ColumnRule):
    """A column of levels: 0 or 1 for each, or one feature where there are two.

    Attributes:
        levels: with a feature of their own.
        pooled: levels that are pooled in one more feature, as far as their names are kept.
        missing: whether an entry of the training part is missing.
    """

    levels: tuple[str, ...]
    pooled: tuple[str, ...]
    missing: bool
    kind: ClassVar[str] = "category"

    @property
    def features(self) -> tuple[str, ...]:
        """`colour = red`, …; `colour = (other)` for the pooled ones."""
        names = [f"{self.name} = {group}" for group in self._groups]
        return (*(names[1:] if len(names) == 2 else names), *missing_name(self.name, self.missing))

    def what(self) -> str:
        """The number of levels, the pooled ones, and what stands for missing ones."""
        if len(self._groups) == 2:
            told = f"1 for {self._groups[1]}, 0 for {self._groups[0]}"
        else:
            told = f"yes or no for each of {counted(len(self.levels), 'value')}"
        rare = counted(len(self.pooled), "rare value taken", "rare values taken")
        names = f"; {rare} together as (other)" if self.pooled else ""
        return shown(told, 120) + names + ("; missing ones marked" if self.missing else "")

    def encode(self, column: pl.Series) -> EncodedColumn:
        """One-hot. An unseen level counts as a pooled one; where none are pooled, as no level, like a missing one."""
        texts, absent, n = spelled(column), gaps_of(column), len(self._groups)
        numbers = {level: j for j, level in enumerate(self.levels)} | dict.fromkeys(self.pooled, len(self.levels))
        codes = texts.replace_strict(numbers, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        unseen = (codes < 0) & ~absent
        codes = np.where(unseen & bool(self.pooled), len(self.levels), codes)
        one_hot = np.vstack([np.eye(n), np.full(n, 0.5 if n == 2 else 0.0)])[codes]
        values = one_hot[:, 1:] if n == 2 else one_hot
        n_absent, n_unseen = int(absent.sum()), int(np.count_nonzero(unseen))
        return EncodedColumn(with_indicator(values, absent, self.missing), marked=n_absent, unseen=n_unseen)

    @property
    def _groups(self) -> tuple[str, ...]:
        return (*self.levels, "(other)") if self.pooled else self.levels

    @staticmethod
    def from_dict(entries: Entries) -> "CategoryRule":
        """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError."""
        require_keys(entries, ("kind", "name", "levels", "pooled", "missing"))
        levels, pooled = texts_of(entries["levels"], MOST_LEVELS), texts_of(entries["pooled"], MOST_POOLED)
        if not levels or set(levels) & set(pooled) or len(levels) + bool(pooled) < 2:
            raise ValueError("levels that are none, alone, or pooled at the same time")
        return CategoryRule(text_of(entries["name"]), levels, pooled, flag_of(entries["missing"]))


def learnt_levels(column: pl.Series) -> CategoryRule | None:
    """The rule of a training column of text; None where no two groups of levels are left."""
    texts = spelled(column).drop_nulls()
    counts = Counter(texts.to_list())
    enough = min(SEEN_BY, max(2, len(texts) // 20))
    by_number = sorted(counts, key=lambda level: (-counts[level], level))
    kept = [level for level in by_number if counts[level] >= enough][:MOST_LEVELS]
    pooled = by_number[len(kept) :]
    if len(kept) + bool(pooled) < 2:
        return None
    return CategoryRule(column.name, tuple(sorted(kept)), tuple(pooled[:MOST_POOLED]), bool(gaps_of(column).any()))


@dataclass(frozen=True)
class DateRule(ColumnRule):
    """A column of dates: the day as a number, and sine and cosine of the parts that return.

    Attributes:
        form: of dates in text; empty for a column of dates.
        days: scaling of the days since the first of January 1970.
        parts: of `DATE_PARTS` that vary in the training part.
        missing: whether an entry of the training part is missing.
    """

    form: str
    days: Standard
    parts: tuple[str, ...]
    missing: bool
    kind: ClassVar[str] = "date"

    @property
    def features(self) -> tuple[str, ...]:
        """The day, then two numbers for each part."""
        waves = [f"{self.name} {part} ({wave})" for part in self.parts for wave in ("sine", "cosine")]
        return (self.name, *waves, *missing_name(self.name, self.missing))

    def what(self) -> str:
        """The form, the number and the parts."""
        read = f" (read as {spelled_form(self.form)})" if self.form else ""
        parts = f"; {listed(self.parts)} as they come round" if self.parts else ""
        filled = "; missing ones filled with the median day and marked" if self.missing else ""
        return f"days as a number{read}{parts}{filled}"

    def encode(self, column: pl.Series) -> EncodedColumn:
        """Finite numbers; parts of a missing date are those of the median day."""
        days = moments(column, self.form)
        absent = np.isnan(days)
        scaled, far = self.days.apply(days)
        filled = np.where(absent, self.days.fill, days)
        waves = [wave(phases(filled, part)) for part in self.parts for wave in (np.sin, np.cos)]
        values = with_indicator(np.column_stack([scaled, *waves]), absent, self.missing)
        return EncodedColumn(values, int(absent.sum()), far=far)

    @staticmethod
    def from_dict(entries: Entries) -> "DateRule":
        """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError."""
        require_keys(entries, ("kind", "name", "form", "days", "parts", "missing"))
        form, parts = text_of(entries["form"]), texts_of(entries["parts"], len(DATE_PARTS))
        if form not in DATE_FORMS or not set(parts) <= set(DATE_PARTS):
            raise ValueError("a form of dates, or parts of them, that are not known")
        standard = standard_of(entries["days"])
        return DateRule(text_of(entries["name"]), form, standard, parts, flag_of(entries["missing"]))


def phases(days: Numbers, part: str) -> Numbers:
    """Where in its circle a part of a date stands, in radians."""
    if part == "hour":
        steps: Numbers = 24.0 * (days % 1.0)
    elif part == "weekday":
        steps = (np.floor(days) + 3.0) % 7.0  # the first of January 1970 was a Thursday
    else:
        whole = np.floor(days).astype(np.int64).astype("datetime64[D]")
        steps = (whole.astype("datetime64[M]").astype(np.int64) % 12).astype(np.float64)
    return 2.0 * np.pi * steps / DATE_PARTS[part]
