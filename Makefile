# On a fresh machine: `make demo` and `make test`. Python >= 3.11, make and PyPI are all they need.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Threads that wait for each other sleep: on a busy machine spinning ones cost several times the run.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo setup test test-fast docs fuzz sabotage theory gallery bench bench-full bench-plan anytime pina
.DELETE_ON_ERROR:

demo: .venv/.stamp-app
	@echo "demo 1/2: $(BIN)/geodescent fit digits"
	@$(BIN)/geodescent fit digits
	@echo "demo 2/2: $(BIN)/geodescent fit examples/diabetes.csv"
	@$(BIN)/geodescent fit examples/diabetes.csv
	@echo "demo: the two reports, to be opened in a browser:"
	@ls -t runs/*/report.html | head -2

setup: .venv/.stamp-dev
	@$(BIN)/pre-commit install

test: .venv/.stamp-dev
	@echo "test 1/4: format"
	@$(BIN)/ruff format --check .
	@echo "test 2/4: lint"
	@$(BIN)/ruff check .
	@echo "test 3/4: types"
	@$(BIN)/mypy
	@echo "test 4/4: pytest, two processes"
	@$(BIN)/python -m pytest -n 2

test-fast: .venv/.stamp-dev
	@$(BIN)/python -m pytest -n 2 -m "not slow"

docs: .venv/.stamp-dev
	@echo "docs: the site, into build/site"
	@$(BIN)/mkdocs build --quiet

fuzz: .venv/.stamp-dev
	@echo "fuzz: 20,000 random cases by seed of the day, two processes; a failure names its seed"
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz --cases 20000

sabotage: .venv/.stamp-dev
	@echo "sabotage: wrong formulas, one at a time, and the test that must notice each"
	@PYTHONPATH=tests $(BIN)/python -m sabotage

theory: .venv/.stamp-dev
	@echo "theory: the studies of examples/, their pictures and what they print, into docs/theory/"
	@$(BIN)/python examples/run.py

gallery: .venv/.stamp-dev
	@echo "gallery: the differential equations, into docs/gallery.md; NAMES=\"heat wave\" SECONDS=5 runs some, shortly"
	@$(BIN)/python examples/equations/gallery.py $(NAMES) $(if $(SECONDS),--seconds $(SECONDS))

# The benchmark wants an idle machine, where threads that spin are up to twice as fast.
bench bench-full anytime: export OMP_WAIT_POLICY := ACTIVE

# The peers live in two environments of their own: .venv-bench with torch, .venv-jax without.
BENCH := .venv-bench/bin
JAX := .venv-jax/bin
BENCH_READY := .venv-bench/.stamp .venv-jax/.stamp

bench: $(BENCH_READY)
	@echo "bench: the quick set, benchmarks/quick.jsonl (what is there already is not run again)"
	@$(BENCH)/python benchmarks/run.py --quick
	@$(BENCH)/python benchmarks/table.py --quick

bench-full: $(BENCH_READY)
	@echo "bench-full: everything, benchmarks/results.jsonl; goes on where it stopped"
	@$(BENCH)/python benchmarks/run.py
	@$(BENCH)/python benchmarks/scaling.py
	@$(BENCH)/python benchmarks/table.py

bench-plan: $(BENCH_READY)
	@$(BENCH)/python benchmarks/run.py --plan
	@$(BENCH)/python benchmarks/run.py --plan --quick

anytime: $(BENCH_READY)
	@echo "anytime: cost against time on large networks, benchmarks/anytime.jsonl; goes on where it stopped"
	@$(BENCH)/python benchmarks/anytime.py
	@$(BENCH)/python benchmarks/anytime_page.py

# PINA brings Lightning and PyTorch Geometric, and its own torch: an environment of its own, and none in CI.
PINA := .venv-pina/bin

pina: .venv-pina/.stamp
	@echo "pina: the bridge from PINA against the installed package"
	@$(PINA)/python -m pytest --noconftest -o filterwarnings=default -q tests/pde/with_pina.py

$(BIN)/python:
	@echo "setup: creating .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit("geodescent needs Python >= 3.11: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv

.venv/.stamp-app: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing geodescent[app] with the exact versions of constraints.txt"
	@$(INSTALL) -e '.[app]'
	@touch $@

.venv/.stamp-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing geodescent[app,dev,docs] with the exact versions of constraints.txt"
	@$(INSTALL) -e '.[app,dev,docs]'
	@touch .venv/.stamp-app $@

$(BENCH)/python:
	@$(PYTHON) -m venv .venv-bench

$(JAX)/python:
	@$(PYTHON) -m venv .venv-jax

.venv-bench/.stamp: pyproject.toml benchmarks/constraints-torch.txt | $(BENCH)/python
	@echo "setup: installing geodescent[app,bench] with the exact versions of benchmarks/constraints-torch.txt"
	@$(BENCH)/python -m pip install --quiet --disable-pip-version-check -c benchmarks/constraints-torch.txt -e '.[app,bench]'
	@touch $@

.venv-jax/.stamp: benchmarks/constraints-jax.txt | $(JAX)/python
	@echo "setup: installing the JAX peers with the exact versions of benchmarks/constraints-jax.txt"
	@$(JAX)/python -m pip install --quiet --disable-pip-version-check -c benchmarks/constraints-jax.txt jax optimistix kfac-jax
	@touch $@

$(PINA)/python:
	@$(PYTHON) -m venv .venv-pina

.venv-pina/.stamp: pyproject.toml tests/pde/constraints-pina.txt | $(PINA)/python
	@echo "setup: installing geodescent and PINA with the exact versions of tests/pde/constraints-pina.txt"
	@$(PINA)/python -m pip install --quiet --disable-pip-version-check -c tests/pde/constraints-pina.txt torch pina-mathlab pytest -e .
	@touch $@
