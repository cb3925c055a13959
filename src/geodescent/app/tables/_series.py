"""Columns as text, as real and as whole numbers: every conversion of polars in one place."""

import polars as pl


def as_texts(column: pl.Series) -> pl.Series:
    """The entries as text: whole numbers without a point, booleans as true and false."""
    return converted(column, pl.String)


def as_reals(column: pl.Series) -> pl.Series:
    """Real numbers, null where an entry is none."""
    return converted(column, pl.Float64)


def as_wholes(column: pl.Series) -> pl.Series:
    """Whole numbers, null where an entry is none or has more than 64 bits; real ones lose what follows the point."""
    return converted(column, pl.Int64)


def as_instants(column: pl.Series) -> pl.Series:
    """Dates with times, in microseconds, without a zone."""
    return converted(column, pl.Datetime("us"))


def converted(column: pl.Series, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    """A column of another type, null where an entry has no counterpart in it."""
    return column.cast(kind, strict=False)


def spelled(column: pl.Series) -> pl.Series:
    """The entries as text, null where missing: whole numbers without a point, booleans as true and false."""
    if not column.dtype.is_float():
        return as_texts(column)
    real = column.fill_nan(None)
    whole = as_wholes(real)
    same = bool((as_reals(whole) == real).all()) and whole.count() == real.count()
    return as_texts(whole if same else real)
