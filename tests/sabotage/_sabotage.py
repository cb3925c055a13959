"""A wrong formula, and how the test that must notice it is run against a copy of the package."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "geodescent"
SECONDS = 300.0  # For one test: a wrong formula may make a loop endless, and that is noticed too.
PASSED, FAILED = 0, 1  # Exit codes of pytest; all others say that the test was not found or not run.


@dataclass(frozen=True)
class Sabotage:
    """One formula made wrong.

    Attributes:
        file: below src/geodescent.
        right: the text of the formula, found in the file once.
        wrong: what stands in its place.
        test: the test that must fail then, as pytest names it, below tests/.
    """

    file: str
    right: str
    wrong: str
    test: str

    def __str__(self) -> str:
        return f"{self.file}: {self.right.strip()!r} -> {self.wrong.strip()!r}"


@contextmanager
def package_with(sabotage: Sabotage) -> Iterator[Path]:
    """The folder of a copy of the package with the wrong formula.

    Raises: ValueError, unless the right one is there once.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PACKAGE, Path(folder) / "geodescent", ignore=shutil.ignore_patterns("__pycache__"))
        path = Path(folder) / "geodescent" / sabotage.file
        text = path.read_text()
        if text.count(sabotage.right) != 1:
            raise ValueError(f"{sabotage.file} holds {text.count(sabotage.right)} times {sabotage.right!r}, not once.")
        path.write_text(text.replace(sabotage.right, sabotage.wrong))
        yield Path(folder)


def run(source: Path, tests: Iterable[str], *, seconds: float = SECONDS) -> tuple[int, str]:
    """The exit code of pytest over these tests with the package of this folder, and what it printed.

    A run that takes longer counts as failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += [f"tests/{test}" for test in tests]
    try:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return FAILED, f"longer than {seconds:.0f} s"
    return done.returncode, done.stdout + done.stderr
