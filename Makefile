# make demo     set up .venv, then the main job on data it generates
# make test     set up, then the tests            (ARGS="tests/blocks -k halo" for some of them)
# make lint     ruff and mypy
# make bench    dense against BlockCopy on the clock (ARGS: see tools/benchmark.py --help)
# make setup    only the environment; make clean removes both environments
#
# STACK=upstream does any of them on open-mmlab's own releases, in .venv-upstream.
# PYTHON=... names the interpreter (3.10 or newer), MAX_JOBS=... the compiler processes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

STACK ?= onedl
ifeq ($(filter $(STACK),onedl upstream),)
$(error STACK is '$(STACK)'; it must be onedl or upstream)
endif

VENV := $(if $(filter onedl,$(STACK)),.venv,.venv-$(STACK))
STAMPS := $(VENV)/.stamps
PY := $(VENV)/bin/python
CONSTRAINTS := requirements/constraints-$(STACK).txt
PIP := $(PY) -m pip install --disable-pip-version-check --progress-bar off --quiet -c $(CONSTRAINTS)

# Caches of matplotlib, yapf, torch and Triton stay inside the environment.
CACHE := $(CURDIR)/$(VENV)/cache
RUN := env XDG_CACHE_HOME=$(CACHE) MPLCONFIGDIR=$(CACHE)/matplotlib TRITON_HOME=$(CACHE) \
	TORCHINDUCTOR_CACHE_DIR=$(CACHE)/inductor $(PY)

BENCH := configs/blockcopy/deeplabv3plus_r50-d16_cityscapes-1024x2048.py \
	--shape 1024 2048 --block-size 128 --active 0.3

.PHONY: help setup demo test lint bench clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

setup: $(STAMPS)/mmdyn

demo: $(STAMPS)/mmdyn
	$(RUN) tools/demo.py --out work_dirs/demo $(ARGS)

test: $(STAMPS)/tests
	$(RUN) -m pytest $(ARGS)

lint: $(STAMPS)/tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(RUN) -m mypy mmdyn/blocks mmdyn/ops

bench: $(STAMPS)/mmdyn
	$(RUN) tools/benchmark.py $(or $(ARGS),$(BENCH))

clean:
	rm -rf .venv .venv-upstream mmdyn/.mim mmdyn.egg-info build

# Each stamp is a finished step; it is redone when a file it was made from changes.

$(STAMPS)/torch: requirements/build.txt requirements/runtime.txt requirements/constraints.txt \
		$(CONSTRAINTS)
	@$(PY) -m pip --version >/dev/null 2>&1 || { python=$$(PYTHON='$(PYTHON)' scripts/find_python.sh); \
		echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV); }
	@mkdir -p $(STAMPS)
	@echo "Installing torch and the build tools"
	@$(PIP) --upgrade pip
	@$(PIP) -r requirements/build.txt -r requirements/runtime.txt
	@touch $@

$(STAMPS)/stack: $(STAMPS)/torch requirements/stack.txt requirements/$(STACK).txt \
		requirements/$(STACK)-imports.txt requirements/det.txt requirements/seg.txt \
		requirements/video.txt scripts/install_stack.sh
	@scripts/install_stack.sh $(VENV) $(STACK)
	@touch $@

$(STAMPS)/mmdyn: $(STAMPS)/stack setup.py pyproject.toml mmdyn/csrc/copies.cpp
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/tests: $(STAMPS)/mmdyn requirements/tests.txt requirements/convert.txt
	@$(PIP) -r requirements/tests.txt
	@touch $@
