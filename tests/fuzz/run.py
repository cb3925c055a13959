"""Cases by number: each follows from one integer."""

import logging
import os
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from datetime import date

import torch
from fuzz.cases import case_of, guarded
from fuzz.doors import DOORS
from fuzz.draw import Draw
from fuzz.formulas import FORMULA_DOORS
from fuzz.wrong_questions import refused

CPU = torch.device("cpu")
BLOCK = 1_000_000  # Cases of one day: seeds of different days never meet.


def first_seed() -> int:
    """That of today, or of the environment: `GEODESCENT_FUZZ=20261126` is that of another day."""
    return int(os.environ.get("GEODESCENT_FUZZ", f"{date.today():%Y%m%d}")) * BLOCK


def play(seed: int, device: torch.device = CPU) -> str:
    """One case on a device; returns its door with what became of it, and raises whatever is wrong."""
    draw = Draw(seed, device)
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        kind = draw.pick({"module": 16, "formula": 2, "wrong": 2})
        if kind == "formula":
            of_formula = draw.pick(FORMULA_DOORS)
            of_formula(draw)
            return f"{of_formula.__name__} done"
        case = case_of(draw)
        if kind == "wrong":
            return refused(case)
        door = draw.pick(DOORS)
        return f"{door.__name__} {guarded(case, lambda: door(case))}"


def failures(
    seeds: Iterable[int],
    *,
    device: torch.device = CPU,
    seconds: Counter[str] | None = None,
    seen: Counter[str] | None = None,
) -> list[str]:
    """A line for each case that fails, with its seed."""
    lines = list[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in seeds:
            begin = time.perf_counter()
            try:
                outcome = play(seed, device)
            except Exception as error:  # whatever is raised, it is not what this case may raise
                place = traceback.extract_tb(error.__traceback__)[-1]
                outcome = "failed"
                lines.append(f"{seed}: {type(error).__name__}: {error} ({place.name}, line {place.lineno})")
            if seen is not None:
                seen[outcome] += 1
            if seconds is not None:
                seconds[outcome] += time.perf_counter() - begin  # type: ignore[assignment]
    return lines


def chunk(seeds: range, device: torch.device) -> tuple[list[str], Counter[str], Counter[str]]:
    """In a process of its own: failures, and by outcome the seconds and how many there were."""
    torch.set_num_threads(1)
    logging.getLogger("geodescent").setLevel(logging.ERROR)
    seconds, seen = Counter[str](), Counter[str]()
    return failures(seeds, device=device, seconds=seconds, seen=seen), seconds, seen
