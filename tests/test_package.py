"""What people get: the wheel, the command, the site."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import geodescent

ROOT = Path(__file__).parents[1]


def output_of(*words: str, path: Path | None = None) -> str:
    """What `python WORDS` prints."""
    environment = os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_is_built_and_imported(tmp_path: Path) -> None:
    """Every module of the source is in it, its types too, and what is imported from it is the package."""
    output_of("-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"geodescent-{geodescent.__version__}-py3-none-any")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert modules == {str(path.relative_to(unpacked)) for path in unpacked.rglob("*.py")}
    assert (unpacked / "geodescent" / "py.typed").exists()
    code = "import geodescent as gd; print(gd.__file__, gd.__version__); gd.fit, gd.optim, gd.geometry"
    file, number = output_of("-c", code, path=unpacked).split()
    assert Path(file) == unpacked / "geodescent" / "__init__.py" and number == geodescent.__version__


@pytest.mark.slow
def test_there_is_one_version() -> None:
    assert version("geodescent") == geodescent.__version__
    assert output_of("-m", "geodescent", "--version").split() == ["geodescent", geodescent.__version__]
    for file in ("CITATION.cff", "pyproject.toml", "mkdocs.yml"):
        assert geodescent.__version__ not in (ROOT / file).read_text().replace("cff-version: 1.2.0", ""), file


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    output_of("-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site"))
    for page in ("index", "people/pytorch/index", "people/table/index", "certificate/index", "decisions/index"):
        assert "<h1" in (tmp_path / "site" / f"{page}.html").read_text()
