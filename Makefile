# Two commands, each complete on a fresh machine:
#   make demo    set up, draw stand-in data, train fifteen small models, write demo/report/index.html
#   make test    set up, lint, type-check, run all tests but those that need a cluster
# And: make test-slurm (as root: brings up a SLURM of its own), make test-long (what takes minutes and need not run at every
# change, notebooks too), make quick, make soak; and before a release or a change
# of dependencies, as root: make test-fresh (both commands in bare trees of Debian, from nothing).
# What some tests need is not installed by any of these, and they skip with the reason without it: the report is tried in
# a real browser where there is one (apt-get install chromium).
# On a machine with a GPU, where nothing need be installed: make gpu (see tests/gpu/README.md; DEVICE=cpu rehearses it).
BLURTRAIN := .venv/bin/blurtrain
DEMO := configs/grids/demo.yaml

# Which tests take longest is said at the end.
SLOWEST := --durations=25 --durations-min=5
ONE := tests/analysis tests/blur tests/data tests/models tests/settings tests/bench tests/gpu tests/evaluation \
       tests/blur_types tests/deblurring tests/tasks

PYTHON ?= $(shell [ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
DEVICE ?= cuda

.PHONY: reference gallery docs demo test test-one test-other test-slurm test-long test-fresh quick soak gpu gpu-wheels install lint
demo: install
	$(BLURTRAIN) data prepare --grid $(DEMO) --data demo/data
	$(BLURTRAIN) grid submit $(DEMO) --data demo/data --runs demo/runs --wait --report demo/report

# In two halves at a time, which takes two cores half as long; of each, what it printed when it has ended. Each has a core
# for itself: threads that wait for each other on cores that others use take longer.
test: lint
	@$(MAKE) --no-print-directory -j 2 --output-sync=target --keep-going test-one test-other

test-one:
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q $(SLOWEST) -m "not slurm and not long" $(ONE)

test-other:
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q $(SLOWEST) -m "not slurm and not long" -p no:cacheprovider $(ONE:%=--ignore=%) tests

test-slurm: install
	.venv/bin/python -m pytest -q $(SLOWEST) -m slurm tests/slurm

test-long: install
	.venv/bin/python -m pytest -q -m long

test-fresh:
	tests/fresh/fresh.sh

soak: install
	.venv/bin/python tests/soak.py --kills 20
	.venv/bin/python tests/soak.py --kills 20 --world 2

gpu:
	$(PYTHON) tests/gpu/check.py --device $(DEVICE)

# Settings and commands as pages, from the code; and the pages of docs/ as a site in site/.
reference: install
	.venv/bin/python docs/reference/make.py
	.venv/bin/python docs/gallery.py
	.venv/bin/python docs/notebooks/make.py

# The pictures of docs/gallery.md: three of the demo's runs, unless they are there, and some thirty drawings.
gallery: install
	.venv/bin/python docs/gallery.py --pictures

docs: reference gallery
	.venv/bin/python -c 'import material' 2>/dev/null || .venv/bin/pip install -q -c constraints.txt 'mkdocs-material>=9.6'
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

gpu-wheels:
	$(PYTHON) tests/gpu/wheels.py

quick: lint
	.venv/bin/python -m pytest -q -m "not slow and not slurm and not long"

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

install:
	@./install.sh
