# make demo: the main job on the embedded data set.  make test: the whole suite.  make test-hosts: what depends on
# Ultralytics, against other releases of it.  make test-oldest: the same with the oldest release of every dependency.
# All set themselves up and re-use it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
DEMO ?= runs/demo
HOSTS ?= oldest 8.4.150 newest
EXTRAS ?= dev,openvino,frost,ray

.PHONY: demo test test-hosts test-oldest lint format install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { $(AS_ROOT) apt-get update && $(AS_ROOT) apt-get install -y python3-venv \
	  && $(PYTHON) -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -q --upgrade "pip>=24"
	$(BIN)/python -m pip install --disable-pip-version-check -q -e ".[$(EXTRAS)]"
	# Two OpenCV distributions share one folder; without a display library only the headless one imports.
	$(BIN)/python -c "import cv2" 2>/dev/null \
	  || $(BIN)/python -m pip install -q --force-reinstall --no-deps 'opencv-python-headless>=4.10,<6'
	touch $@

demo: install
	$(BIN)/yolo-qreg demo --out $(DEMO)

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-hosts: install
	$(BIN)/python tools/hosts.py $(HOSTS)

test-oldest:
	mkdir -p .oldest
	grep -oE '"[a-z0-9-]+>=[0-9.]+' pyproject.toml | sed 's/"//; s/>=/==/; s/$$/.*/' > .oldest/constraints.txt
	PIP_CONSTRAINT=$(CURDIR)/.oldest/constraints.txt $(MAKE) install VENV=.oldest/venv EXTRAS=dev,onnx,frost
	.oldest/venv/bin/python -m pytest -q -n auto --dist loadfile tests/quant tests/test_patch.py tests/corruptions tests/report
	.oldest/venv/bin/python tools/hosts.py oldest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .hosts .oldest runs .mypy_cache .pytest_cache .ruff_cache
