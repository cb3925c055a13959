"""What a report tells of a run, before it is laid out as a page."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Arrays of numbers."""


@dataclass(frozen=True)
class TestRows:
    """What was measured on the rows of the test, and what the run predicted of them.

    Attributes:
        measured: targets, or numbers of classes, (n,).
        mean: predicted targets; the number of the most probable class, (n,).
        lower, upper: ends of the intervals, (n,) each; None for classes, and where there are none.
        level: of the intervals.
        probabilities: of each class, (n, C); None for a regression.
    """

    __test__ = False  # for pytest: no class of tests

    measured: Floats
    mean: Floats
    lower: Floats | None = None
    upper: Floats | None = None
    level: float = 0.9
    probabilities: Floats | None = None


@dataclass(frozen=True)
class Comparison:
    """A baseline on the same test rows.

    Attributes:
        name: such as "mean", "ridge regression", "gradient boosting".
        metrics: as those of the run.
        difference: the run's error minus the baseline's, root mean square error or log loss; the run is better below 0.
        standard_error: of the difference, over test rows.
    """

    name: str
    metrics: Mapping[str, float]
    difference: float
    standard_error: float


@dataclass(frozen=True)
class ReportFacts:
    """All that a page says; every text may come from a foreign file and is escaped where it is shown.

    Attributes:
        data: name of the data.
        target: name of the column that is predicted.
        classes: their labels; empty for a regression.
        mode: "posterior" or "exact".
        story: what was fitted, a paragraph for anybody.
        verdict: how the run compares with the baselines, in a sentence.
        test: names and values of the run's metrics on the test rows.
        left_out: the same error as estimated without the test rows; None where it was not computed.
        rows: of the test.
        comparisons: one for each baseline.
        importance: input → fitted scale s_f, in units of the column's standard deviation; empty where there are none.
        history: columns of numbers, a row for each step or evaluation, `cost` among them.
        kept: place of the kept point in the history.
        axis: what the history's `cost` is, for the label.
        certificate: what is known at the end, lines in plain words.
        columns: of the table: name, kind, what was done with it.
        choices: what was chosen, its value, and the option that changes it.
        account: sentences on how the table was read.
        notes: sentences for the user.
    """

    data: str
    target: str
    classes: tuple[str, ...]
    mode: str
    story: str
    verdict: str
    test: Mapping[str, float]
    left_out: float | None
    rows: TestRows
    comparisons: tuple[Comparison, ...]
    importance: Mapping[str, float]
    history: Mapping[str, Floats]
    kept: int
    axis: str
    certificate: str
    columns: tuple[tuple[str, str, str], ...]
    choices: tuple[tuple[str, str, str], ...]
    account: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
