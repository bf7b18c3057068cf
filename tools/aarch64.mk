# covey for AArch64, built on another machine and run in an emulator.  From the top of
# the repository:
#
#     make aarch64
#
# which is all of this: the library, without OpenBLAS unless BLAS=openblas; the C tests
# and the examples, linked with it; and both run on three CPUs, one of each set of
# kernels (plain NEON, dotprod, i8mm).  Needs what `tools/setup-debian.sh $(PACKAGES)`
# installs; everything that is built lies in build/aarch64.

BLAS ?= none
OUT  ?= build/aarch64$(if $(OPENBLAS),-openblas)
LIB  := $(OUT)/libcovey.so
ROOT := $(OUT)/root

GNU      := aarch64-linux-gnu
PACKAGES := gcc-$(GNU) g++-$(GNU) libc6-dev-arm64-cross qemu-user-static
CPUS     ?= cortex-a72 cortex-a76 max
# What programs find at run time: the cross compiler's libc, and packages in ROOT.
FOLDERS  := $(abspath $(ROOT))/usr/lib/$(GNU):$(abspath $(ROOT))/lib/$(GNU)
QEMU     := qemu-aarch64-static -L /usr/$(GNU) -E LD_LIBRARY_PATH=$(FOLDERS)

# What the library takes where it has OpenBLAS.
OPENBLAS := $(filter openblas,$(BLAS))
ifdef OPENBLAS
SWIFT_BLAS := -DCOVEY_OPENBLAS -Xcc -isystem -Xcc $(ROOT)/usr/include/$(GNU) \
  -Xcc -fmodule-map-file=Sources/COpenBLAS/module.modulemap
LINK_BLAS  := $(ROOT)/usr/lib/$(GNU)/openblas-pthread/libopenblas.so.0 \
  -Wl,--allow-shlib-undefined
endif

.PHONY: test library packages run-c run-clip
.DELETE_ON_ERROR:

test: run-c run-clip

packages:
	@echo $(PACKAGES)

# ---- The library -----------------------------------------------------------

# The flags are those of Package.swift.  Embedded Swift needs no more of the system than
# its headers: its standard library is compiled into the object.
C_SOURCES := $(wildcard Sources/CCoveyKernels/*.c Sources/CCoveyPlatform/*.c)
C_PARTS   := $(shell find Sources/CCovey* -name '*.h' -o -name '*.inc')
OBJECTS   := $(patsubst Sources/%.c,$(OUT)/objects/%.o,$(C_SOURCES))
SWIFT     := $(shell find Sources/Covey -name '*.swift')
MODULES   := $(OUT)/modules.modulemap

$(OUT)/objects/%.o: Sources/%.c $(C_PARTS)
	@mkdir -p $(@D)
	@$(GNU)-gcc -O3 -fPIC -ffp-contract=off -fvisibility=hidden -ffunction-sections -Wno-psabi \
	  $(addprefix -I,$(wildcard Sources/*/include)) -c $< -o $@

$(MODULES): tools/aarch64.mk
	@mkdir -p $(@D)
	@{ for name in CCoveyKernels CCoveyPlatform; do \
	  echo "module $$name { header \"$(CURDIR)/Sources/$$name/include/$$name.h\" export * }"; \
	done; } > $@

$(OUT)/objects/Covey.o: $(SWIFT) $(C_PARTS) Include/covey.h $(MODULES) $(ROOT)/ready
	@mkdir -p $(@D)
	@echo "aarch64: compiling Swift"
	@swiftc -Osize -wmo -parse-as-library -swift-version 6 -module-name Covey \
	  -enable-experimental-feature Embedded -target aarch64-none-none-elf \
	  -Xfrontend -function-sections -Xcc -fPIC -Xcc -D__linux__ \
	  -Xcc -isystem -Xcc /usr/$(GNU)/include \
	  $(SWIFT_BLAS) \
	  -Xcc -fmodule-map-file=$(MODULES) -Xcc -fmodule-map-file=Include/module.modulemap \
	  -c $(SWIFT) -o $@

library: $(LIB)

$(LIB): $(OBJECTS) $(OUT)/objects/Covey.o Sources/Covey/covey.map
	@$(GNU)-gcc -shared $(OBJECTS) $(OUT)/objects/Covey.o -o $@.whole \
	  -Wl,--version-script=Sources/Covey/covey.map -Wl,-soname=libcovey.so.0 \
	  -Wl,--no-undefined -Wl,--gc-sections -Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete \
	  $(LINK_BLAS) -lm
	@$(GNU)-strip --strip-unneeded -o $@.tmp $@.whole
	@rm $@.whole
	@ln -sf libcovey.so $(LIB).0
	@mv $@.tmp $@
	@python3 Tests/check_exports.py $@
	@python3 Tests/check_abi.py $@ --cc $(GNU)-gcc

# ---- Its tests ---------------------------------------------------------------

# Of Debian for AArch64: what the examples are linked with.
$(ROOT)/ready: tools/debian-root.sh
	@echo "aarch64: unpacking libpng and others into $(ROOT)"
	@tools/debian-root.sh arm64 $(ROOT) libpng16-16 libpng-dev zlib1g \
	  $(if $(OPENBLAS),libopenblas0-pthread libopenblas-pthread-dev libgfortran5)
	@$(if $(OPENBLAS),ln -sf openblas-pthread/libopenblas.so.0 $(ROOT)/usr/lib/$(GNU)/)
	@touch $@

C := $(MAKE) --no-print-directory -f Tests/c/Makefile LIB=$(LIB) OUT=$(OUT)/c CC=$(GNU)-gcc \
     CXX=$(GNU)-g++ CFLAGS="-O2 -I$(ROOT)/usr/include -L$(ROOT)/usr/lib/$(GNU) -Wl,-rpath-link,$(FOLDERS)"

$(OUT)/c/built: $(LIB) $(wildcard Tests/c/* Examples/*) $(ROOT)/ready
	@$(C) $(OUT)/c/test_interface examples
	@touch $@

# An emulator takes hundreds of times as long as a CPU: SHORT=1 leaves most of it out.
WEIGHTS := Tests/golden/tiny-q8.gguf $(if $(SHORT),,Tests/golden/tiny-f32.gguf)
SIZE    := $(if $(SHORT),64x96,192x384)

run-c: $(OUT)/c/built
	@for cpu in $(CPUS); do for weights in $(WEIGHTS); do \
	  echo "$$cpu:" && $(QEMU) -cpu $$cpu $(OUT)/c/test_interface $$weights --quick || exit 1; \
	done; done

# FILM, PYTHON with covey and PyAV, and NATIVE, the example for this machine, come from the
# Makefile.
run-clip: $(OUT)/c/built
	@$(PYTHON) Tests/check_same_masks.py $(FILM) $(SIZE) $(NATIVE) \
	  $(foreach cpu,$(CPUS),"$(QEMU) -cpu $(cpu) $(OUT)/c/segment")
