# Every command of the course. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup tools lab quick test data notebooks exercises grade release slides site pdf stick korean korean-check backend colab bench format pins clean

PY := .venv/bin/python
# The Python that set-up runs with: the one in .venv, or the first on the PATH that TensorFlow supports. PYTHON=/path/to/python
# overrides it.
PYTHON ?= $(shell for p in $(PY) python3 python3.13 python3.12 python3.11 python; do \
	$$p -m tools.setup --fits >/dev/null 2>&1 && echo $$p && break; done)
# Options for JupyterLab, for example: make lab OPTIONS="--no-browser --port=9000"
OPTIONS ?=
# It compares .venv with what it must be each time, and does what is lacking: see tools/setup.py.
SETUP = python="$(PYTHON)"; if [ -z "$$python" ]; then echo "The course needs Python 3.11, 3.12 or 3.13, and none was found:" \
	"$$(python3 --version 2>&1). Install one, or name it: make lab PYTHON=/path/to/python3.12"; exit 1; fi; "$$python" -m tools.setup

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create .venv with the pinned packages, or repair it (nothing to do: a tenth of a second)
	@$(SETUP)

tools: ## add what teaching and testing need: grading, slides, website, browser, Spark (done once)
	@$(SETUP) --all

lab: setup ## open the course in JupyterLab
	@$(PY) -m course_utils lab $(OPTIONS)

data: setup ## fetch MovieLens 100K into data/ (make lab does it too)
	@$(PY) -m course_utils data

# A file stays with one worker, so that each imports and trains little; the slowest files first (tools/pytest_notebooks.py).
BY_FILE := --dist loadfile --no-loadscope-reorder
# Two workers on two cores: with a thread each, two trainings of 07 side by side took 13 s, with two threads each 15 s.
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1

quick: data ## unit tests and rules in a minute: no notebook runs, no browser
	$(PY) -m pytest tests -m "not slow" -n 2 $(BY_FILE)

test: data tools ## run every test: the helpers, the rules, every notebook
	$(ONE_THREAD) $(PY) -m pytest tests notebooks solutions --ignore=tests/test_browser.py --cov=course_utils -n 2 $(BY_FILE)
	$(PY) -m pytest tests/test_browser.py -n 2

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

release: tools ## make a zip and a website for students, without solutions and links to them, in build/
	@$(PY) -m tools.grading.student_copy
	@$(PY) -m tools.site --no-solutions --public --out build/site-for-students

slides: tools ## write one offline deck a notebook into build/slides
	$(PY) -m tools.slides

SOLUTIONS ?= yes
PUBLIC ?= no
site: tools ## build the website and its decks into build/site (for students SOLUTIONS=no, for everybody PUBLIC=yes)
	@$(PY) -m tools.site $(if $(filter no,$(SOLUTIONS)),--no-solutions) $(if $(filter yes,$(PUBLIC)),--public)

pdf: tools ## print the course into build/course.pdf
	@$(PY) -m tools.site.pdf

bench: data tools ## measure our models beside other libraries, and notebook 11 at full size (an hour or more)
	$(PY) -m benchmarks all

korean: tools ## bring the Korean catalogs in step with the English text, check them, write ko/
	@$(PY) -m tools.languages ko

korean-check: tools ## list Korean sentences that are missing, outdated or wrong, old and new English above each other
	@$(PY) -m tools.languages --check ko

BACKEND ?= jax
backend: data ## run 01 to 08, 10 and the tests of the networks on another backend of Keras (BACKEND=jax or torch)
	KERAS_BACKEND=$(BACKEND) $(PY) -m pytest -o addopts="" -p tools.pytest_notebooks --nbval-lax --nbval-current-env -ra \
		tests/test_models.py tests/test_history.py tests/test_training.py notebooks/0[1-8]_*.ipynb notebooks/10_*.ipynb

ADDRESS ?=
colab: data ## make copies of the notebooks for Google Colab in build/colab (without the data PUBLIC=yes)
	@$(PY) -m tools.colab --buttons
	@$(PY) -m tools.colab $(if $(filter yes,$(PUBLIC)),--public) $(if $(ADDRESS),--address "$(ADDRESS)")

STICK ?=
stick: data ## fill STICK=folder for a room without a network: course, data, packages
	@$(PY) -m tools.stick "$(STICK)"

format: setup ## format and lint code and notebooks
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make pins" --quiet --extra test

pins: ## compile requirements.txt and requirements-all.txt anew from pyproject.toml (needs uv)
	$(COMPILE) --upgrade -o requirements.txt
	$(COMPILE) --extra teach --extra scale --constraint requirements.txt --upgrade -o requirements-all.txt

clean: ## remove .venv and everything else that was made here, but not the data
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .coverage htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +
