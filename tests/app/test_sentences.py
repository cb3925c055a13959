"""What a command says at its end is no more than the rows tell."""

import numpy as np
import pytest

from geodescent.app.commands._sentences import verdict
from geodescent.app.fitted import Predicted
from geodescent.app.report import Comparison

NUMBERS = Predicted(np.zeros(1))
MEAN = Comparison("mean", {}, -20.0, 2.0)


def test_what_cannot_be_told_apart_is_not_called_as_good():
    said = verdict((MEAN, Comparison("ridge regression", {}, 0.41, 0.9)), NUMBERS, 110)
    assert said == (
        "The run cannot be told from ridge regression by 110 test rows: its rmse is lower by 0.41, with a standard "
        "error of 0.9. It is better than the mean."
    )
    alone = verdict((Comparison("ridge regression", {}, -0.41, 0.9),), NUMBERS, 110)
    assert alone.endswith("its rmse is higher by 0.41, with a standard error of 0.9.") and "as good" not in alone


def test_what_is_better_or_worse_names_the_difference_and_its_error():
    better = verdict((MEAN, Comparison("boosted trees", {}, -9.0, 1.0)), NUMBERS, 110)
    assert better.startswith("On the test rows better than the mean and boosted trees; of boosted trees, which comes")
    assert "rmse is higher by 9, with a standard error of 1." in better
    worse = verdict((MEAN, Comparison("boosted trees", {}, 9.0, 1.0)), NUMBERS, 110)
    assert worse.startswith("Worse than boosted trees on the test rows: its rmse is lower by 9, with a standard error")


def test_one_method_that_is_surely_better_is_named_before_one_that_may_be():
    """The one that leads by more may do so by chance."""
    said = verdict((Comparison("sure", {}, 1.0, 0.1), Comparison("unsure", {}, 2.0, 5.0)), NUMBERS, 110)
    assert said.startswith("Worse than sure on the test rows")


@pytest.mark.parametrize(("comparisons", "n"), [((), 9), ((MEAN,), 1)])
def test_without_anything_to_compare_nothing_is_claimed(comparisons, n):
    assert "better" not in verdict(comparisons, NUMBERS, n)
