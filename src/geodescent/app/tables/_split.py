"""Rows to train on and rows to test on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app.tables._shown import counted
from geodescent.app.tables._target import Targets
from geodescent.app.tables.reading import Task

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of the training part and of the test part; disjoint, increasing."""

    train: Rows
    test: Rows


def split_rows(targets: Targets, task: Task, *, test_size: float, seed: int) -> tuple[Split, str]:
    """A random split fixed by the seed, and a sentence on it. Classes have the same share on both sides.

    Rows without target are in neither part. A class of one row is trained on; where the test part has fewer rows than
    there are classes, it is drawn from all rows beyond the first of each class.

    Args:
        targets: `(n,)`, numbers of classes with −1 where missing, or reals with NaN.
        task: which of the two.
        test_size: fraction of the test part, in (0, 1).
        seed: of the split.

    Raises:
        InputError: a fraction outside (0, 1), or one that leaves a part without rows.
    """
    if not 0.0 < test_size < 1.0:
        raise InputError(f"test_size must lie between 0 and 1: got {test_size}. Give --test-size 0.25, for example.")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must be a whole number from 0 to 2^32 - 1: got {seed}.")
    rows = np.flatnonzero(targets >= 0 if task == "classification" else ~np.isnan(targets))
    n_test = int(np.ceil(test_size * len(rows)))
    if not 0 < n_test < len(rows):
        raise InputError(
            f"test_size = {test_size} leaves {len(rows) - n_test} of {len(rows)} rows to train on: change --test-size."
        )
    if task == "regression":
        test, how = _drawn(rows, n_test, seed, None), "at random"
    else:
        test, how = _classified(rows, targets[rows].astype(np.int64), n_test, seed)
    train = np.setdiff1d(rows, test)
    parts = f"{counted(len(train), 'row')} to train on, {len(test):,} to test (--test-size)"
    return Split(train.astype(np.int64), np.sort(test).astype(np.int64)), f"{parts}, drawn {how} (--seed)."


def _classified(rows: Rows, classes: Rows, n_test: int, seed: int) -> tuple[Rows, str]:
    """The rows to test on, and how they were drawn."""
    counts = np.bincount(classes)
    several = counts[classes] > 1
    n_single, n_classes = int(np.count_nonzero(~several)), int(np.count_nonzero(counts > 1))
    n_test = min(n_test, int(several.sum()) - n_classes)
    if n_test <= 0:
        size = f"{counted(len(rows), 'row')} in {counted(len(np.unique(classes)), 'class', 'classes')}"
        raise InputError(f"{size} leave none to test: add rows.")
    alone = f"; the only row of {counted(n_single, 'class', 'classes')} is to train on" if n_single else ""
    if n_classes <= n_test <= int(several.sum()) - n_classes:
        test = _drawn(rows[several], n_test, seed, classes[several])
        return test, f"at random, each class with its share{alone}"
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    _, first = np.unique(classes[shuffled], return_index=True)
    free = np.delete(shuffled, first)
    few = f"; {n_test} rows to test are too few for a share of {n_classes} classes"
    return rows[free[:n_test]], f"at random{few}{alone}"


def _drawn(rows: Rows, n_test: int, seed: int, classes: Rows | None) -> Rows:
    """Rows to test on, drawn by scikit-learn."""
    from sklearn.model_selection import train_test_split  # takes a second, so it is imported when a split is made

    _, test = train_test_split(rows, test_size=n_test, random_state=seed, stratify=classes)
    return np.asarray(test, dtype=np.int64)
