"""The commands that README, tutorials and Makefile show are run as they stand."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geodescent.app.cli import app

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/people/table.md", "Makefile")
SHOWN = re.compile(r"^(?:\t@\$\(BIN\)/)?geodescent ((?:fit|plan|flow|certify|predict) [^#\n]+)", re.MULTILINE)


def commands(page):
    return [shlex.split(words) for words in SHOWN.findall((ROOT / page).read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.py"))
    monkeypatch.chdir(tmp_path)
    assert commands(page)
    for words in commands(page):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output)
    for report in tmp_path.glob("runs/*/report.html"):
        assert report.read_text().startswith("<!DOCTYPE html>")
