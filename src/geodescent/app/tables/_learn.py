"""Which rule a column gets, from its training rows."""

import re

import numpy as np
import polars as pl

from geodescent.app.tables._dates import date_form, moments
from geodescent.app.tables._level_rules import DATE_PARTS, DateRule, learnt_levels, phases
from geodescent.app.tables._rules import (
    WORDS,
    BooleanRule,
    ColumnRule,
    LeftOutRule,
    NumberRule,
    gaps_of,
    numbers_of,
    truth_of,
)
from geodescent.app.tables._shown import shown
from geodescent.app.tables._standard import learnt_standard

NEARLY_ALL = 0.9  # Share of different texts above which a column names its rows.
SEVERAL = 20  # Rows: in a shorter column texts may differ by chance, so that only all different ones name the rows.
SPAN = 2  # Times the rows: whole numbers, all different, within so few ones count the rows, of which some are held out.
ROW_NAMES = re.compile(r"(?i)^(column_1|index|idx|nr|no|number|row|row[ _-]?(id|nr|no|number|names?)|.*[ _-]id|id)$")
"""Names of columns that number the rows."""
TIME_NAMES = re.compile(r"(?i)^(.*[ _-])?(t|time|year|month|week|day|hour|zeit|jahr|monat|woche|tag|stunde|datum)$")
"""Names of columns that count time, which may well tell the target."""


def learn(column: pl.Series, *, keep_counts: bool = False) -> ColumnRule:
    """The rule for a column of training rows.

    Args:
        column: of plain types.
        keep_counts: uses whole numbers that count the rows too; for tables that have no other column.
    """
    given = column.filter(pl.Series(~gaps_of(column)))
    if not len(given):
        return LeftOutRule(column.name, "no training row has an entry")
    if given.n_unique() == 1:
        return _of_one_value(column, shown(str(given[0])))
    if column.dtype.is_temporal():
        return _learnt_dates(column, "")
    if column.dtype == pl.Boolean:
        return _learnt_answers(column)
    if column.dtype.is_numeric():
        counts = not keep_counts and counts_rows(given)
        return LeftOutRule(column.name, "it numbers the rows") if counts else _learnt_numbers(column)
    return _learnt_text(column, given)


def counts_rows(given: pl.Series) -> bool:
    """Whether whole numbers, all different, are a count of the rows, by their name or as they lie close together."""
    if not given.dtype.is_integer() or given.n_unique() < len(given):
        return False
    least, largest = (float(x) for x in np.quantile(given.to_numpy(), [0.0, 1.0]))
    close = largest - least < SPAN * len(given)
    return bool(ROW_NAMES.match(given.name)) or (close and not TIME_NAMES.match(given.name))


def _of_one_value(column: pl.Series, value: str) -> ColumnRule:
    """A constant column tells at most whether it is given."""
    if gaps_of(column).any():
        return BooleanRule(column.name, fill=False, missing=True, answers=False)
    return LeftOutRule(column.name, f"it is constant: {value} in every training row")


def _learnt_numbers(column: pl.Series) -> ColumnRule:
    values, _ = numbers_of(column)
    missing, standard = bool(np.isnan(values).any()), learnt_standard(values)
    if standard is None:
        return LeftOutRule(column.name, "it is constant up to rounding, or infinite throughout")
    _, far = standard.apply(values)
    return NumberRule(column.name, standard, missing, far)


def _learnt_answers(column: pl.Series) -> ColumnRule:
    truth, missing = truth_of(column), bool(gaps_of(column).any())
    return BooleanRule(column.name, fill=2 * int(truth.sum()) > truth.count(), missing=missing)


def _learnt_dates(column: pl.Series, form: str) -> ColumnRule:
    days = moments(column, form)
    standard, given = learnt_standard(days), days[~np.isnan(days)]
    if standard is None:
        return LeftOutRule(column.name, "it is constant up to rounding")
    parts = tuple(part for part in DATE_PARTS if np.ptp(phases(given, part)) > 0.0)
    return DateRule(column.name, form, standard, parts, len(given) < len(days))


def _learnt_text(column: pl.Series, given: pl.Series) -> ColumnRule:
    """Answers, dates, names of the rows, or levels."""
    words = set(given.str.to_lowercase().unique().to_list())
    if any(words <= set(pair) for pair in WORDS):
        return _learnt_answers(column)
    form = date_form(column)
    if form is not None:
        return _learnt_dates(column, form)
    different = given.n_unique()
    if different == len(given) or (len(given) > SEVERAL and different > NEARLY_ALL * len(given)):
        return LeftOutRule(column.name, f"it names the rows: {different} different texts in {len(given)} training rows")
    return learnt_levels(column) or LeftOutRule(column.name, "each of its levels is rare")
