# The one entry to building, running and testing covey.  `make` lists targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup lib demo test test-swift test-kernels test-exports test-c test-faults test-fuzz test-soak test-valgrind faults fuzz soak \
  test-python test-oracles test-documents test-packages examples aarch64 install man dist api pictures \
  bench bench-clustering bench-quality bench-objects bench-throughput bench-training \
  bench-adaptation \
  bench-kernels bench-instructions footprint clean

# COVEY_BLAS=none: without OpenBLAS, in a folder of its own.
export COVEY_BLAS
BUILD  := build$(if $(filter none,$(COVEY_BLAS)),/no-blas)
LIB    := $(BUILD)/libcovey.so
VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMPS := build/stamps
SCRATCH := .build-embedded$(if $(filter none,$(COVEY_BLAS)),-no-blas)
MODEL  := models/covey-nano.gguf
FILM   := out/film/vtest.avi

LIB_SOURCES := $(shell find Sources Include -type f) Package.swift

help: ## this list
	@echo "covey: object segmentation of video, without supervision"
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | \
	  awk -F':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-19s %s\n", $$1, $$2}'
	@echo
	@echo "Needs Swift 6.3 or later, a C compiler and Python 3.10 or later; make demo and"
	@echo "make test install what else is missing, and say so."

# ---- What is needed --------------------------------------------------------

setup: $(STAMPS)/debian $(STAMPS)/python ## install the Debian packages and the Python environment

$(STAMPS)/debian: tools/setup-debian.sh
	@tools/setup-debian.sh
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/python: bindings/python/pyproject.toml | $(STAMPS)/debian
	@echo "Python: installing covey's bindings and their tests' packages into $(VENV)"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e 'bindings/python[test]'
	@mkdir -p $(STAMPS) && touch $@

# ---- The library -----------------------------------------------------------

lib: $(LIB) ## the shared library, build/libcovey.so; COVEY_BLAS=none: build/no-blas/...

$(LIB): $(LIB_SOURCES) | $(STAMPS)/debian
	@echo "building $(LIB)"
	@COVEY_BUILD=embedded swift build -c release --scratch-path $(SCRATCH) --product covey
	@mkdir -p $(BUILD)
	@tools/strip-library.sh $(SCRATCH)/release/libcovey.so $(LIB).tmp
	@ln -sf libcovey.so $(BUILD)/libcovey.so.0
	@mv $(LIB).tmp $(LIB)

# ---- See it work -----------------------------------------------------------

demo: $(LIB) $(STAMPS)/python $(FILM) ## segment a real film; masks, pictures, a film and a report in out/
	@$(VENV)/bin/covey segment $(FILM) --model $(MODEL) -o out --max-frames 200 \
	  --working-size 288x384 --overlay --sheet --report

# People on a square, before a fixed camera, 768 x 576: from OpenCV's samples (Apache-2.0).
$(FILM):
	@tools/fetch-film.sh $@

# ---- Tests -----------------------------------------------------------------

test: test-swift test-kernels test-exports test-c test-faults test-fuzz test-soak test-valgrind test-python ## build and run all tests

test-swift: | $(STAMPS)/debian ## the numerics against plain oracles, in ordinary Swift
	@mkdir -p build/reports
	swift test -c release -Xswiftc -enable-testing --xunit-output build/reports/swift.xml
	@mv build/reports/swift-swift-testing.xml build/reports/swift.xml

test-kernels: ## the kernels of every instruction set, AArch64's in an emulator, from C
	@$(MAKE) --no-print-directory -f Tests/kernels/Makefile test

test-exports: $(LIB) ## the library exports what the header declares, and what was published
	python3 Tests/check_exports.py $(LIB)
	python3 Tests/check_abi.py $(LIB) \
	  $(foreach cc,cc $(notdir $(shell command -v aarch64-linux-gnu-gcc)),--cc $(cc))

test-c: examples ## the C interface, from C; the header as C and C++; the examples
	@$(MAKE) --no-print-directory -f Tests/c/Makefile test LIB=$(LIB)
	@python3 Tests/check_examples.py $(BUILD)/c Tests/golden/tiny-f32.gguf

test-faults: $(LIB) ## what the system may refuse, refused, at some of the places; make faults: at all
	@$(FAULTS) test LIB=$(LIB) LIMIT=2

faults: $(LIB) ## every allocation, thread, open, read, write, ... fails, with and without OpenBLAS; minutes
	@$(MAKE) --no-print-directory COVEY_BLAS=none lib
	@for folder in build build/no-blas; do $(FAULTS) test LIB=$$folder/libcovey.so || exit 1; done

FAULTS = $(MAKE) --no-print-directory -f Tests/faults/Makefile

test-fuzz: $(LIB) ## the fuzzer's seeds and what it once found, with the library itself
	@$(FUZZ) replay LIB=$(LIB)

fuzz: | $(STAMPS)/debian ## libFuzzer on weight files, training states, calls; MINUTES=60 each; TARGETS=calls: one
	@$(FUZZ) fuzz

test-soak: $(LIB) ## eight sessions at once beside cancel, log and fork; a stream of 1,200 frames
	@$(SOAK) test LIB=$(LIB)

soak: $(LIB) ## the same for longer and under the thread sanitizer; a stream of 20,000 frames; minutes
	@$(SOAK) soak LIB=$(LIB)

SOAK = $(MAKE) --no-print-directory -f Tests/soak/Makefile
FUZZ = $(MAKE) --no-print-directory -f Tests/fuzz/Makefile

test-valgrind: test-c ## the C tests once more, under valgrind
	@Tests/c/valgrind.sh

test-python: $(LIB) $(STAMPS)/python ## the bindings; the stages against NumPy and PyTorch
	$(PYTHON) -m pytest -rs $(call report,python) Tests/python

test-oracles: $(LIB) $(STAMPS)/oracles ## those of test-python that skip without PyTorch and others, with them
	$(PYTHON) -m pytest -rs $(call report,oracles) \
	  $$(python3 Tests/check_skips.py --tests python)

# PyTorch's build for CPUs where pip can find it.
$(STAMPS)/oracles: Tests/python/oracles.txt $(STAMPS)/python
	@echo "Python: installing what tests compare with into $(VENV)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test-documents: examples $(STAMPS)/python ## the commands of README and docs, from a new environment
	$(PYTHON) -m pytest -rs --durations=5 $(call report,documents) Tests/documents

# What ran and what skipped, for Tests/check_skips.py.
report = --junit-xml=build/reports/$(1).xml

examples: $(LIB) | $(STAMPS)/debian
	@$(MAKE) --no-print-directory -f Tests/c/Makefile examples LIB=$(LIB)

aarch64: examples $(FILM) | $(STAMPS)/python ## build for AArch64, test in an emulator; SHORT=1: less
	@tools/setup-debian.sh $$($(AARCH64) packages)
	@$(MAKE) --no-print-directory -f Tests/kernels/Makefile arm
	@COVEY_LIBRARY=$(abspath $(LIB)) \
	  $(AARCH64) FILM=$(FILM) PYTHON=$(PYTHON) NATIVE=$(BUILD)/c/segment

ifneq ($(filter test test-kernels,$(MAKECMDGOALS)),)
aarch64: test-kernels
endif

AARCH64 = $(MAKE) --no-print-directory -f tools/aarch64.mk

# ---- Installing, packages -----------------------------------------------------

PREFIX ?= /usr/local
# MANUAL= : without the manual page, and what makes it.
MANUAL ?= build/man/covey.1

install: $(LIB) $(if $(MANUAL),man) ## install into PREFIX (/usr/local) below DESTDIR
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" \
	  DATADIR="$(DATADIR)" DOCDIR="$(DOCDIR)" MANDIR="$(MANDIR)" packaging/install.sh $(LIB) $(MANUAL)
	@echo "installed into $(DESTDIR)$(PREFIX)"
	@$(if $(DESTDIR),,ldconfig 2>/dev/null || \
	  echo "programs find the library once ldconfig has run as root, or with LD_LIBRARY_PATH")

man: | $(STAMPS)/debian ## the manual page of the command, made from its arguments: build/man/covey.1
	@$(PACKAGING) man

dist: ## packages in dist/: tar.gz, Debian, Python; ARCH=x86_64, ARCH=aarch64: one
	@$(PACKAGING) dist

# Both build the library for AArch64, in one place.
ifneq ($(filter aarch64,$(MAKECMDGOALS)),)
dist test-packages: aarch64
endif

test-packages: ## install the packages, build with them, run; ARCH=... as above
	@$(PACKAGING) test

PACKAGING = $(MAKE) --no-print-directory -f packaging/Makefile

# ---- Reference -------------------------------------------------------------

api: $(LIB) $(STAMPS)/python ## the reference of the Python package, as HTML in build/api
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e 'bindings/python[api]'
	@$(PYTHON) -m pdoc -d markdown -o $(BUILD)/api covey \
	  $(addprefix covey.,batch checkpoints.convert evaluation interface.weights plots \
	  reading.clips training.choosing_tau writing.coco writing.images)
	@echo "$(BUILD)/api/index.html"

pictures: demo ## the pictures of README.md and docs/FIGURES.md
	@tools/pictures.sh $(VENV)/bin/covey $(FILM) out/masks docs/pictures

# ---- Benchmarks ------------------------------------------------------------

# None of these is part of the tests: nothing fails on a clock.
BENCHMARKS = $(MAKE) --no-print-directory -f Benchmarks/Makefile LIB=$(LIB) BUILD=$(BUILD)

bench: $(LIB) ## covey beside PyTorch, ONNX Runtime, OpenVINO; QUICK=1: headline rows only
	@$(BENCHMARKS) bench

bench-clustering: $(LIB) ## the clustering beside the paper's code in PyTorch; QUICK=1: one seed
	@$(BENCHMARKS) clustering

bench-quality: $(LIB) $(STAMPS)/python ## J and FG-ARI of the modes on labelled video, where there is some
	$(PYTHON) Benchmarks/quality.py

bench-objects: $(LIB) $(STAMPS)/python ## what the objects are worth: ids, masks, frames that are right; FLAGS="--only cars"
	$(PYTHON) Benchmarks/objects.py $(FLAGS)

bench-throughput: $(LIB) $(STAMPS)/python ## frames per second from a video file to masks
	$(PYTHON) Benchmarks/throughput.py

bench-training: $(LIB) ## a training step beside PyTorch's: time and memory
	@$(BENCHMARKS) training

bench-adaptation: $(LIB) $(STAMPS)/python ## J before and after training on unlabelled video; hours; STEPS=200: less
	$(PYTHON) Benchmarks/adaptation.py $(if $(STEPS),--steps $(STEPS))

bench-kernels: | $(STAMPS)/debian ## the machine's peak, and what products of the network's shapes reach
	@$(BENCHMARKS) kernels

bench-instructions: $(LIB) ## instructions of one frame, by callgrind, against those recorded
	@$(BENCHMARKS) instructions

footprint: $(LIB) $(STAMPS)/python ## bytes, loading and memory of all builds, into docs/BOARDS.md
	@$(MAKE) --no-print-directory COVEY_BLAS=none lib
	@tools/setup-debian.sh $$($(AARCH64) packages)
	@$(AARCH64) build/aarch64/c/built
	@for folder in build build/no-blas; do $(MAKE) --no-print-directory -f Tests/c/Makefile \
	  LIB=$$folder/libcovey.so OUT=$$folder/c $$folder/c/covey_bench || exit 1; done
	$(PYTHON) Benchmarks/footprint.py --into docs/BOARDS.md

# ---- Odds and ends ---------------------------------------------------------

clean: ## remove all that was built
	rm -rf build dist out .build .build-* $(VENV) .pytest_cache .hypothesis \
	  bindings/python/build bindings/python/src/*.egg-info
