"""Random cases by seed of the day: no error that is not ours, no wrong number, every model left as it was found."""

import logging

import pytest
from fuzz.run import failures, first_seed

CHUNKS, CASES = 20, 100  # 2,000 cases; `make fuzz` runs 20,000.


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_cases(chunk: int) -> None:
    """`PYTHONPATH=tests python -m fuzz SEED` plays a case that failed again, with its traceback."""
    logging.getLogger("geodescent").setLevel(logging.ERROR)
    first = first_seed() + chunk * CASES
    failed = failures(range(first, first + CASES))
    assert not failed, "\n".join(failed)
