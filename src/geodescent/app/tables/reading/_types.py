"""Columns of any type become text, whole or real numbers, booleans and dates; the rest is left out."""

import polars as pl

from geodescent.app.tables._series import as_reals, as_texts, as_wholes
from geodescent.app.tables._shown import listed, quoted
from geodescent.app.tables.reading._numbers import typed

PLAIN_TYPES = (pl.String, pl.Boolean, pl.Int64, pl.Float64, pl.Date)
"""Types that stay as they are; of dates with times the precision and the zone do not matter either."""


def plain_types(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame with the types of `PLAIN_TYPES` and dates with times, and sentences on what was left out."""
    columns = [_plain(frame[name]) for name in frame.columns]
    strange = [
        f"{quoted(name)} ({frame[name].dtype.base_type().__name__})"
        for name, column in zip(frame.columns, columns, strict=True)
        if column is None
    ]
    kept = pl.DataFrame([column for column in columns if column is not None])
    said = (f"Left out, as they hold neither numbers nor text nor dates: {listed(strange)}.",) if strange else ()
    kept, _, changes = typed(kept)
    return kept, (*said, *changes)


def _plain(column: pl.Series) -> pl.Series | None:
    """The column with a plain type; None where there is none for it."""
    kind = column.dtype
    if kind in PLAIN_TYPES or kind == pl.Datetime:
        return column
    if kind in (pl.Categorical, pl.Enum, pl.Null):
        return as_texts(column)
    if kind == pl.Duration:
        return as_reals(column.dt.total_microseconds()) / 1e6  # seconds
    if not kind.is_numeric():
        return None
    whole = as_wholes(column) if kind.is_integer() else column
    fits = kind.is_integer() and whole.count() == column.count()
    return whole if fits else as_reals(column)
