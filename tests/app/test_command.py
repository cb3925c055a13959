"""The command as it is called from a shell, in processes of their own."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import geodescent as gd
from geodescent.app.cli import app

ROOT = Path(__file__).parents[2]
SCRIPT = [str(Path(sys.executable).with_name("geodescent"))]
AS_A_MODULE = """
import atexit, runpy, sys
atexit.register(lambda: print({"matplotlib", "sklearn", "rich", "geodescent.doors"} & {*sys.modules}))
runpy.run_module("geodescent", run_name="__main__", alter_sys=True)
"""
"""`python -m geodescent`, and at its end what it should not have imported."""


def called(command, folder):
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    assert list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.slow
def test_the_help_of_the_module_names_the_commands_and_imports_no_more_than_it_needs(tmp_path):
    """They take a second together: pictures, baselines and the bar are imported when they are used."""
    text = called([sys.executable, "-c", AS_A_MODULE, "--help"], tmp_path)
    assert text.endswith("set()\n")
    assert {"fit", "plan", "flow", "certify", "predict", "--version", "--help"} <= set(re.findall(r"[\w-]+", text))
    assert "Predicts a column of a table from the others, with error bars" in " ".join(text.split())


@pytest.mark.slow
def test_the_version_of_the_script_is_that_of_the_package(tmp_path):
    assert called([*SCRIPT, "--version"], tmp_path) == f"geodescent {gd.__version__}\n"


def test_the_script_is_the_one_that_the_package_declares():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"geodescent": "geodescent.app.cli:main"}


def test_without_a_command_the_help_is_shown():
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2 and "certify" in done.output
