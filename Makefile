PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-oldest coverage docs dist clean

demo: .venv/.demo  ## search, confirmation, report and export on the embedded data set; again: goes on where it was
	$(BIN)/python -m ipix_tune.sweep search_spaces/digits.yaml $(if $(wildcard studies/digits/study.yaml),--resume)
	@echo "report:      studies/digits/report.html"
	@echo "best config: studies/digits/best.yaml   (train it: $(BIN)/ipix-tune train studies/digits/best.yaml --seeds 3)"

test: .venv/.dev  ## linters, types and the default tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 40 --durations-min 5 -m "not slow and not gpu"

test-slow: .venv/.dev  ## the tests that train to a score, kill processes or drive a browser
	$(BIN)/python -m pytest -m "slow and not gpu"

test-oldest: .venv-oldest/.dev  ## the default tests with the oldest versions that pyproject.toml allows, whose own warnings are none of ours
	.venv-oldest/bin/python -m pytest -W default -n 2 --dist loadfile --durations 40 --durations-min 5 -m "not slow and not gpu"

# Folders with tests of their own, each measured once: what was interrupted goes on where it was.
PIECES := $(patsubst tests/%/,build/coverage/%,$(sort $(dir $(wildcard tests/*/test_*.py tests/*/*/test_*.py))))

coverage: $(PIECES:%=%/done)  ## the share of lines that the default tests run, refused where it has fallen; anew from the start: make clean
	$(BIN)/python -m coverage combine --keep --quiet --data-file build/coverage/lines $(PIECES)
	$(BIN)/python -m coverage report --data-file build/coverage/lines

build/coverage/%/done: | .venv/.dev
	@mkdir -p $(@D) && rm -f $(@D)/lines*
	COVERAGE_CORE=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
	  COVERAGE_FILE=$(CURDIR)/$(@D)/lines $(BIN)/python -m coverage run -m pytest -q -m "not slow and not gpu" $(wildcard tests/$*/test_*.py) || [ $$? = 5 ]
	@touch $@

docs: .venv/.docs  ## the documentation as a site, in site/, strictly and without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "the site: site/index.html   (read it at http://127.0.0.1:8000: $(BIN)/mkdocs serve)"

dist: .venv/bin/python  ## sdist, wheel and the release notes of this version, in dist/
	rm -rf dist build
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build
	@awk -v version="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
	  '/^## /{shown = ($$2 == version); next} shown' CHANGELOG.md > dist/notes.md

clean:
	rm -rf .venv .venv-oldest dist build site

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ipix-tune needs Python 3.11 or newer; say which with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev]"
	@touch $@ .venv/.demo

.venv/.docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[docs]"
	@touch $@ .venv/.demo

.venv-oldest/.dev: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --constraint constraints-oldest.txt --editable ".[dev]"
	@touch $@
