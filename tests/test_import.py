"""What `import geodescent` brings and costs on top of torch, in fresh processes."""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
WAITING = (
    "app",
    "certificate",
    "constructive",
    "costs",
    "curves",
    "descent",
    "doors",
    "generalisation",
    "geometry",
    "optim",
)
OTHERS = ("matplotlib", "pandas", "polars", "rich", "scipy", "sklearn", "sympy", "typer")


def printed(code: str) -> str:
    """What the code prints, compiled files being kept between runs as they are for a user."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, env=kept)
    return run.stdout.strip()


@pytest.mark.slow
def test_the_import_brings_its_own_modules_and_no_other_package() -> None:
    """Beside torch, what torch imports and Python's own library."""
    code = """if True:
        import sys, torch, numpy
        before = {name.split(".")[0] for name in sys.modules} | sys.stdlib_module_names
        import geodescent
        print(*sorted({name.split(".")[0] for name in sys.modules} - before))
    """
    assert printed(code) == "geodescent"


@pytest.mark.slow
def test_rooms_wait_until_one_of_their_names_is_asked_for() -> None:
    code = """if True:
        import sys, geodescent
        print(*sorted({name.split(".")[1] for name in sys.modules if name.startswith("geodescent.")}))
    """
    assert not set(printed(code).split()) & set(WAITING)


@pytest.mark.slow
def test_a_fit_needs_torch_alone() -> None:
    """SciPy is for flows; SymPy is what torch imports, for most of a second, if it is asked the wrong way."""
    code = f"""if True:
        import sys, torch, geodescent as gd
        model = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
        solution = gd.fit(model, torch.eye(2).double(), torch.ones(2, 1).double(), max_steps=3)
        solution.certificate
        print(*[name for name in {OTHERS!r} if name in sys.modules])
    """
    assert printed(code) == ""


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["np.exp", "torch.exp"])
def test_the_first_fit_of_a_formula_loads_no_compiler(exp: str) -> None:
    """torch loads its own, and SymPy, for a second or more, where derivatives are taken in other ways."""
    code = f"""if True:
        import sys, numpy as np, torch, geodescent as gd
        x = np.linspace(0.0, 4.0, 30)
        y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.01 * np.sin(40.0 * x)
        fitted = gd.curve_fit(lambda x, a, b, c: a * {exp}(-b * x) + c, x, y)
        assert fitted.success
        loaded = ("torch._dynamo", "sympy", "scipy.optimize")
        print(*[name for name in loaded if name in sys.modules])
    """
    assert printed(code) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["gd.flow", "gd.fit", "import geodescent.flow", "from geodescent.flow import integrate", "gd.Certificate"]
)
def test_the_door_flow_is_not_taken_for_the_room_of_that_name(first: str) -> None:
    code = f"import geodescent as gd; {first}; print(gd.flow.__module__, gd.flow.__name__)"
    assert printed(code) == "geodescent.doors._flow flow"


@pytest.mark.slow
def test_a_name_that_nobody_has_is_no_attribute() -> None:
    code = "import geodescent as gd; print(hasattr(gd, 'fits'), hasattr(gd, 'doors'), gd.geometry.__name__)"
    assert printed(code) == "False False geodescent.geometry"


@pytest.mark.slow
def test_the_import_takes_less_than_a_tenth_of_torchs_time() -> None:
    """In processor seconds: 0.1 s where torch takes 1 s, also on a busy machine; the median of three.

    A full pass of the garbage collector, which visits all that torch has made, is as long as all else here together:
    it begins in an import that makes some 12,000 objects, and is part of what is measured.
    """
    code = """if True:
        from time import process_time as seconds
        start = seconds(); import torch, numpy
        between = seconds(); import geodescent
        print((seconds() - between) / (between - start))
    """
    printed(code)  # compiles what was changed
    assert median(float(printed(code)) for _ in range(3)) < 0.1


def test_garbage_is_collected_again_after_the_import() -> None:
    """As it was before: on, or off where the user had turned it off."""
    code = "import gc; gc.{}(); import geodescent; print(gc.isenabled())"
    assert printed(code.format("enable")) == "True"
    assert printed(code.format("disable")) == "False"
