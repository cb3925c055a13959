"""Dates and times in text: the forms that are understood, and which of them a column is written in."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app.tables._series import as_instants, as_reals, as_texts
from geodescent.app.tables._shown import quoted
from geodescent.app.tables.reading import MISSING_NUMBERS, mostly

DAYS = {
    "%Y-%m-%d": r"^\d{4}-\d{1,2}-\d{1,2}",
    "%Y/%m/%d": r"^\d{4}/\d{1,2}/\d{1,2}",
    "%d.%m.%Y": r"^\d{1,2}\.\d{1,2}\.\d{4}",
    "%d.%m.%y": r"^\d{1,2}\.\d{1,2}\.\d{2}(?: |$)",
    "%d/%m/%Y": r"^\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"^\d{1,2}/\d{1,2}/\d{4}",
    "%d/%m/%y": r"^\d{1,2}/\d{1,2}/\d{2}(?: |$)",
    "%m/%d/%y": r"^\d{1,2}/\d{1,2}/\d{2}(?: |$)",
    "%d-%m-%Y": r"^\d{1,2}-\d{1,2}-\d{4}",
    "%d %b %Y": r"^\d{1,2} [A-Za-z]{3} \d{4}",
    "%b %d, %Y": r"^[A-Za-z]{3} \d{1,2}, \d{4}",
}
"""Forms of a day and what they look like, in the order in which they are tried: 3/4/2024 is the third of April unless
another entry of the column is no date then."""

TIMES = {
    "": r"$",
    " %H:%M": r" \d{1,2}:\d{2}$",
    " %H:%M:%S": r" \d{1,2}:\d{2}:\d{2}$",
    " %H:%M:%S%.f": r" \d{1,2}:\d{2}:\d{2}(?:\.\d+)?$",
    " %H:%M%z": r" \d{1,2}:\d{2}[+-]\d{2}:?\d{2}$",
    " %H:%M:%S%z": r" \d{1,2}:\d{2}:\d{2}[+-]\d{2}:?\d{2}$",
    " %H:%M:%S%.f%z": r" \d{1,2}:\d{2}:\d{2}(?:\.\d+)?[+-]\d{2}:?\d{2}$",
}
"""Forms of what follows the day. Times with a zone are counted in universal time."""

DATE_FORMS = frozenset({"", *(day + time for day in DAYS for time in TIMES)})
"""All of them; the empty one is a column that holds dates already."""

PARTS_OF_FORMS = {"%Y": "YYYY", "%y": "YY", "%m": "MM", "%d": "DD", "%b": "Mon", "%H": "hh", "%M": "mm", "%S": "ss"}
"""How the letters of a form are shown to people."""

DAY = 86_400e6  # Microseconds of a day.


def date_form(column: pl.Series) -> str | None:
    """The form in which all entries of a column of text, or nearly all of many, are dates; None where there is none."""
    entries = _tidy(column).drop_nulls()
    for day, day_looks in DAYS.items():
        if not mostly(int(entries.str.contains(day_looks).sum()), len(entries)):
            continue
        for time in TIMES:
            looks = int(entries.str.contains(TIMES[time]).sum())
            if mostly(looks, len(entries)) and mostly(_parsed(entries, day + time).count(), len(entries)):
                return day + time
    return None


def spelled_form(form: str) -> str:
    """The form for people: `DD.MM.YYYY hh:mm`."""
    for letters, shown in PARTS_OF_FORMS.items():
        form = form.replace(letters, shown)
    return form.replace("%.f", "").replace("%z", " zone")


def moments(column: pl.Series, form: str) -> NDArray[np.float64]:
    """Days since the first of January 1970, NaN where an entry is missing, or one of few that are no dates.

    Args:
        column: of dates, or of text.
        form: of the text, as `date_form` tells it.

    Raises:
        InputError: one of twenty entries, or more, is no date of that form.
    """
    if column.dtype.is_temporal():
        dates = column
    else:
        texts = _tidy(as_texts(column))
        dates = _parsed(texts, form or "%Y-%m-%d")
        wrong = column.filter(dates.is_null() & texts.is_not_null())
        if not mostly(texts.count() - len(wrong), texts.count()):
            raise InputError(
                f"Column {quoted(column.name)} held dates in the fit ({form or 'typed'}), and now it holds "
                f"{quoted(str(wrong[0]))}: write its dates as then."
            )
    days = as_reals(as_instants(dates).to_physical()) / DAY
    return days.fill_null(float("nan")).to_numpy().astype(np.float64)


def _tidy(column: pl.Series) -> pl.Series:
    """Text with one blank between day and time, and Z as an offset; null where an entry is missing."""
    tidy = column.str.strip_chars().str.replace(r"^(\S+\d)T(\d)", "$1 $2").str.replace(r"Z$", "+0000")
    return tidy.set(tidy.is_in(MISSING_NUMBERS), None)


def _parsed(texts: pl.Series, form: str) -> pl.Series:
    """Dates with times, in universal time, null where the text is of another form."""
    if "%H" not in form:
        return as_instants(texts.str.to_date(form, strict=False))
    parsed = texts.str.to_datetime(form, strict=False, time_unit="us", ambiguous="earliest")
    return parsed.dt.replace_time_zone(None) if "%z" in form else parsed
