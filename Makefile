# Every command of the course. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup tools lab test data notebooks exercises grade slides site bench format pins clean

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
READY_ALL := $(VENV)/.ready-all
# The first Python on the PATH that TensorFlow supports; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 && echo $$p && break; done)
# Options for JupyterLab, for example: make lab OPTIONS="--no-browser --port=9000"
OPTIONS ?=

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the pinned packages (done once)

# Some systems ship a Python whose venv can't bring its own pip: then the system's pip fills the new folder.
$(READY): requirements.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "The course needs Python 3.11, 3.12 or 3.13, and none was found:" \
		"$$(python3 --version 2>&1). Install one, or name it: make lab PYTHON=/path/to/python3.12"; exit 1; fi
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] < (3, 14) else \
		f"The course needs Python 3.11, 3.12 or 3.13, but {sys.executable} is {v[0]}.{v[1]}. Try: make lab PYTHON=python3.12")'
	@echo "Setting up $(VENV) with $$("$(PYTHON)" --version): about 300 MB to download, once."
	@if "$(PYTHON)" -m venv $(VENV) >/dev/null 2>&1; then $(PY) -m pip install --quiet --require-hashes -r requirements.txt; \
		else "$(PYTHON)" -m venv --clear --without-pip $(VENV) && \
		"$(PYTHON)" -m pip --python $(PY) install --quiet --require-hashes -r requirements.txt; fi
	@$(PY) -m pip install --quiet --no-index --no-deps --no-build-isolation -e .
	@touch $@

tools: $(READY_ALL) ## add what teaching and testing need: grading, slides, website, browser, Spark (done once)

$(READY_ALL): $(READY) requirements-all.txt
	@echo "Adding the packages for teaching, testing and notebook 09's engines: about 600 MB to download, once."
	@if $(PY) -m pip --version >/dev/null 2>&1; then $(PY) -m pip install --quiet --require-hashes -r requirements-all.txt; \
		else "$(PYTHON)" -m pip --python $(PY) install --quiet --require-hashes -r requirements-all.txt; fi
	@touch $@

lab: $(READY) ## open the course in JupyterLab
	@$(PY) -m course_utils lab $(OPTIONS)

data: $(READY) ## fetch MovieLens 100K into data/ (make lab does it too)
	@$(PY) -m course_utils data

test: data tools ## run every test: the helpers, the rules, every notebook
	$(PY) -m pytest tests notebooks solutions --ignore=tests/test_browser.py --cov=course_utils -n 2 --dist loadfile
	$(PY) -m pytest tests/test_browser.py

notebooks: data ## execute every notebook in place; the only way their outputs are made
	$(PY) -m tools.execute
	$(PY) -m ruff format --quiet notebooks

exercises: data tools ## execute the solutions and make the exercises from them
	$(PY) -m tools.execute $(sort $(wildcard solutions/[0-9][0-9]_*.ipynb))
	$(PY) -m ruff format --quiet solutions
	$(PY) -m tools.grading.release

SUBMISSIONS ?= submissions
grade: data tools ## grade SUBMISSIONS=folder (one folder a student); writes points.csv
	$(PY) -m tools.grading.grade "$(SUBMISSIONS)"

slides: tools ## write one offline deck a notebook into build/slides
	$(PY) -m tools.slides

site: tools ## build the website into build/site
	$(PY) -m sphinx -W --keep-going -q -b html -c tools/site -d build/doctrees . build/site
	@echo "Open build/site/index.html"

bench: data tools ## measure our models beside other libraries, and notebook 09 at full size (about 40 minutes)
	$(PY) benchmarks/run.py
	$(PY) benchmarks/table.py
	$(PY) benchmarks/scale.py

format: $(READY) ## format and lint code and notebooks
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make pins" --quiet --extra test

pins: ## compile requirements.txt and requirements-all.txt anew from pyproject.toml (needs uv)
	$(COMPILE) --upgrade -o requirements.txt
	$(COMPILE) --extra teach --extra scale --constraint requirements.txt --upgrade -o requirements-all.txt

clean: ## remove .venv and everything else that was made here, but not the data
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .coverage htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +
