# The one entry to building, running and testing covey.  `make` lists targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup lib python demo test test-swift test-c test-python valgrind clean

BUILD  := build
LIB    := $(BUILD)/libcovey.so
VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMPS := $(BUILD)/stamps
CC     ?= cc
CXX    ?= c++

LIB_SOURCES := $(shell find Sources Include -type f) Package.swift

help: ## this list
	@echo "covey: object segmentation of video, without supervision"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
	  awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo
	@echo "Needs Swift 6.2 or later, a C compiler and Python 3.10 or later;"
	@echo "what else is missing, make demo and make test install (see make setup)."

setup: $(STAMPS)/debian $(STAMPS)/python ## install the Debian packages and the Python environment

$(STAMPS)/debian: tools/setup-debian.sh
	@tools/setup-debian.sh
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/python: bindings/python/pyproject.toml $(STAMPS)/debian
	@echo "Python: making the environment $(VENV) with numpy, PyAV, Pillow, rich and the test tools"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --upgrade pip
	@$(PYTHON) -m pip install --quiet -e 'bindings/python[cli,convert,test,demo]'
	@mkdir -p $(STAMPS) && touch $@

lib: $(LIB) ## the shared library, build/libcovey.so

$(LIB): $(LIB_SOURCES) $(STAMPS)/debian
	@echo "building $(LIB) (Embedded Swift, release)"
	@COVEY_BUILD=embedded swift build -c release --scratch-path .build-embedded --product covey
	@mkdir -p $(BUILD)
	@strip --strip-unneeded -o $(LIB).tmp .build-embedded/release/libcovey.so
	@mv $(LIB).tmp $(LIB)
	@ln -sf libcovey.so $(BUILD)/libcovey.so.0
	@touch $@

clean: ## remove all that was built
	rm -rf $(BUILD) out .build .build-embedded
