# Everything happens in .venv, made with the Python 3.11+ that PYTHON names.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: app demo test lint docs

demo: .venv/installed
	$(BIN)/python train.py
	$(BIN)/python evaluate.py -m sampler=dbim,dbim_fast nfe=2,5,10,20

app: .venv/installed
	$(BIN)/python -m dbim_lightning.app

# A process for each core: small tensors gain nothing from a second thread.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into site/, to be read without a server: site/index.html.
docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade --quiet pip
	$(BIN)/python -m pip install --editable '.[demo,dev]'
	touch $@
