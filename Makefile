# Everything happens in .venv, made with the Python 3.11+ that PYTHON names.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo app test lint

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

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade --quiet pip
	$(BIN)/python -m pip install --editable '.[demo,dev]'
	touch $@
