# make demo: set up and do the main job.   make test: set up and run every check.
# make check: set up and run the quick part of it.   make site: the documentation, to be read from site/index.html.
# make lowest, make newest: the main job and the quick tests on the lowest versions of all packages that pyproject.toml
# allows, and on the newest.   make audit: known vulnerabilities.   make package: wheel and sdist in dist/, tried afresh.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ENV := .venv
BIN := $(ENV)/bin
OUT ?= out/demo
# Fashion-MNIST: where Debian's package has put it, else where its contents are unpacked to.
DATASET := usr/share/datasets/fashion-mnist
# A photograph of scikit-image's, which is installed by then.
CAT = $(ENV)/lib/python3*/site-packages/skimage/data/chelsea.png
FETCHED := .venv/.stamp-fetched
PICTURES := $(if $(wildcard /$(DATASET)/t10k-images-idx3-ubyte.gz),/$(DATASET),.venv/fashion-mnist/$(DATASET))

# Bytecode is kept whatever the environment says: each worker of pytest and each process that a test starts would
# compile the package and the tests again.
unexport PYTHONDONTWRITEBYTECODE

# The tests write and remove tens of thousands of files, in memory where there is room for them.
export PYTEST_DEBUG_TEMPROOT := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 8000000 \
  2>/dev/null && test -w /dev/shm && echo /dev/shm || echo $(or $(TMPDIR),/tmp))

.PHONY: demo check test fuzz guided chaos mutants lowest newest versions audit static site package browser emulator shells install-all \
  install-dev clean

demo: install-all $(PICTURES)
	$(BIN)/scarlet-zoo deploy scarlet_a --out $(OUT)
	$(BIN)/scarlet-zoo export scarlet_mini_s --out $(OUT)
	$(BIN)/scarlet-zoo pictures fashion-mnist --data-dir $(PICTURES) --split test --max-images 8 --out $(OUT)/pictures
	$(BIN)/scarlet-zoo predict $(OUT)/scarlet_mini_s.onnx $(OUT)/pictures/*.png --top 1
	$(BIN)/scarlet-zoo export scarlet_cifar_s --out $(OUT)
	$(BIN)/scarlet-zoo predict $(OUT)/scarlet_cifar_s.onnx $(CAT) --top 3

check: static $(PICTURES)
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

# What reads the code runs beside the tests, in the time in which they wait for pages, devices and processes.
test: install-dev $(PICTURES) browser emulator shells $(FETCHED)
	@$(MAKE) --no-print-directory static > .venv/static.log 2>&1 & static=$$!; \
	$(BIN)/python -m slipcover $(COMPILED) --json --out $(COVERAGE) -m pytest $(WORKERS) --durations=15; tests=$$?; \
	wait $$static; static=$$?; cat .venv/static.log; exit $$((tests | static))
	$(BIN)/python -m slipcover --skip-covered --merge $(COVERAGE) --out $(COVERAGE) --fail-under 93 \
	  || { echo "error: $(COVERAGE): the tests run less than 93 % of the lines" >&2; exit 1; }

# 100,000 hostile inputs for each parser and 2,000 hostile commands, for hours; NAMES='json toml' takes some of them. It
# goes on where it was ended, in the background with: nohup make fuzz > fuzz.log &
fuzz: install-dev
	nice -n 10 $(BIN)/python tests/fuzz/run.py $(NAMES)

# The same parsers with input that coverage guides, SECONDS for each, where atheris installs.
guided: install-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3'
	nice -n 10 $(BIN)/python tests/fuzz/guided.py --seconds $(or $(SECONDS),60) $(NAMES)

# Long commands are killed at random moments, and meet full disks, closed folders and cut-off files; as root, in half an hour.
chaos: install-dev $(PICTURES)
	PYTHONPATH=tests $(BIN)/python -m chaos --work out/chaos

# Faults are planted in what must be exact, one at a time, in a copy of the last commit; those that no test notices are
# told. An hour or two; it goes on where it was ended.
mutants: install-dev $(PICTURES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8'
	nice -n 10 $(BIN)/python tests/mutation/run.py

COVERAGE := .venv/coverage.json

# Warnings are no errors there: an old package knows nothing of what a newer one beside it will remove.
lowest:
	PIP_CONSTRAINT=$(CURDIR)/tests/lowest.txt $(MAKE) ENV=.venv-lowest OUT=out/lowest versions

newest:
	rm -f .venv-newest/.stamp-*
	PIP_UPGRADE=1 PIP_UPGRADE_STRATEGY=eager $(MAKE) ENV=.venv-newest OUT=out/newest versions

versions: install-dev demo
	$(BIN)/python -m pytest $(WORKERS) -m "not slow" -W default

# pip-audit has an environment of its own, so that the one that it looks at has only what this package needs.
audit: install-dev
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	@.venv-audit/bin/python tests/audit.py .venv/lib/python3*/site-packages

# What tests need beside packages: an arm64 Python, an old ONNX Runtime, timm's tests, a Kotlin compiler where there is
# Java, compiled kernels.
$(FETCHED): tests/fetch.py $(wildcard scarlet_zoo/training/kernel*.py) | install-dev emulator
	$(BIN)/python tests/fetch.py && touch $@

# numba compiles the bytecode, which slipcover changes to count lines.
COMPILED := --omit 'scarlet_zoo/training/kernel*.py'

WORKERS := -q -n 3 --dist worksteal

# What reads the code without running it.
static: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@echo "$(BIN)/mypy, of the package and its drivers, and of the tests beside it"
	@$(BIN)/mypy & package=$$!; $(BIN)/mypy --config-file tests/mypy.ini; tests=$$?; wait $$package && exit $$tests

site: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

# What is built is installed where nothing else of ours is, and the first page's lines run there.
package: install-dev
	rm -rf dist .venv/package
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv .venv/package
	.venv/package/bin/python -m pip install --quiet --disable-pip-version-check "$$(echo dist/*.whl)[all]"
	$(BIN)/python tests/first_page.py .venv/package

# A stamp per extra remembers that pip has done what pyproject.toml asks for; dev contains all.
install-all install-dev: install-%: $(BIN)/python
	@if [ $(ENV)/.stamp-$* -nt pyproject.toml -a $(ENV)/.stamp-$* -nt tests/lowest.txt ]; then \
	  echo "install: skipped, nothing changed in pyproject.toml since the last one"; \
	else \
	  echo "install: scarlet-zoo[$*] into $(ENV)" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]' && \
	  touch $(ENV)/.stamp-$* && \
	  if [ $* = dev ]; then touch $(ENV)/.stamp-all; fi; \
	fi

# The package's files, without installing it: that would need root. Only lists of packages that are missing do.
# As root itself where root asks: apt's own user may not enter this folder, and apt would warn of that.
DOWNLOAD := apt-get download -qq $(if $(filter 0,$(shell id -u)),-o APT::Sandbox::User=root)
.venv/fashion-mnist/$(DATASET):
	mkdir -p .venv/fashion-mnist
	cd .venv/fashion-mnist && { $(DOWNLOAD) dataset-fashion-mnist \
	  || { apt-get update -qq && $(DOWNLOAD) dataset-fashion-mnist; }; }
	dpkg-deb -x .venv/fashion-mnist/dataset-fashion-mnist_*.deb .venv/fashion-mnist

# The tests of pages run in a real one, those of arm64 under qemu, that of completion in zsh; each is skipped where its
# program is not there.
browser:
	@$(call debian,chromium,chromium)

emulator:
	@$(call debian,qemu-aarch64-static,qemu-user-static)

shells:
	@$(call debian,zsh,zsh)

# A program of a package of Debian's, installed where that is allowed.
define debian
command -v $(1) >/dev/null || { test "$$(id -u)" = 0 && { apt-get install -y -qq $(2) >/dev/null 2>&1 \
  || { apt-get update -qq && apt-get install -y -qq $(2) >/dev/null; }; }; } \
  || echo "$(2): is not there; its tests are skipped (apt install $(2))"
endef

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no python3.11 found, wanted: apt install python3.11 python3.11-venv make" >&2; exit 2; }
	$(PYTHON) -m venv $(ENV)

clean:
	rm -rf .venv .venv-lowest .venv-newest .venv-audit out dist site
