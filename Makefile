# Makefile - builds build/bench and its tests. `make help` lists the targets.
#
# One non-recursive file. Sources are found by folder, and objects mirror them under $(BUILD). Flags that change rebuild
# everything (the stamp). Only files named for an instruction set get its flags. Works with GNU make from 3.81 (macOS)
# on, gcc and clang. `make V=1` shows whole commands.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
SAN     ?=
OPT     ?= -O2 -g
PAPI    ?= auto
CUDA    ?= auto
NVCC    ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc) nvcc)
FUZZ_SECONDS ?= 10

Q := $(if $(V),,@)
UNAME_S := $(shell uname -s)
UNAME_M := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)

# ---- what is needed, and what is there -------------------------------------------------------------

# Homebrew keeps some libraries out of the default search path.
ifeq ($(UNAME_S),Darwin)
BREW := $(shell brew --prefix 2>/dev/null)
PKG_CONFIG := PKG_CONFIG_PATH="$(BREW)/opt/openssl@3/lib/pkgconfig:$(BREW)/opt/sqlite/lib/pkgconfig:$(BREW)/lib/pkgconfig:$$PKG_CONFIG_PATH" pkg-config
PKG_CFLAGS := -I$(BREW)/include
PKG_LIBS   := -L$(BREW)/lib
else
PKG_CONFIG := pkg-config
endif

PKGS := hwloc jansson libpcre2-8 libutf8proc sqlite3 libcrypto inih
PKG_CFLAGS += $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   += $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
TEST_CFLAGS := $(shell $(PKG_CONFIG) --cflags cmocka 2>/dev/null)
TEST_LIBS   := $(shell $(PKG_CONFIG) --libs cmocka 2>/dev/null)

# PAPI: yes, no or auto. The others of the feature table are programs or are opened at run time.
ifeq ($(PAPI),auto)
PAPI := $(shell echo 'int main(void) { return PAPI_library_init(PAPI_VER_CURRENT) < 0; }' | \
          $(CC) -include papi.h -x c - -o /dev/null -lpapi >/dev/null 2>&1 && echo yes || echo no)
endif
ifeq ($(PAPI),yes)
PKG_CFLAGS += -DHAVE_PAPI=1
PKG_LIBS   += -lpapi
else
PKG_CFLAGS += -DHAVE_PAPI=0
endif

# CUDA: yes, no or auto, which takes a compiler and a driver. The programs are the same: libcuda is opened at
# run time, and without `yes` the table of kernels has no rows for GPUs.
ifeq ($(CUDA),auto)
CUDA := $(shell command -v $(NVCC) >/dev/null 2>&1 && [ -e /dev/nvidiactl ] && echo yes || echo no)
endif
ifeq ($(CUDA),yes)
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v $(NVCC))))
PKG_CFLAGS += -DHAVE_CUDA=1 -DCUDA_MAJOR=$(shell $(NVCC) --version | sed -n 's/.*release \([0-9]*\).*/\1/p')
PKG_LIBS   += -L$(CUDA_HOME)/lib64 -lcudart_static -lrt
else
PKG_CFLAGS += -DHAVE_CUDA=0
endif

# STATIC=yes links all libraries into the program but those of the system, for a machine that lacks them
# (tools/gpu-check pack). libudev, which hwloc needs, has no static form.
STATIC ?= no
ifeq ($(STATIC),yes)
PKG_LIBS := -Wl,-Bstatic $(shell $(PKG_CONFIG) --libs $(PKGS)) -lz $(filter-out $(shell $(PKG_CONFIG) --libs $(PKGS)),$(PKG_LIBS)) -Wl,-Bdynamic -l:libudev.so.1
endif

# ---- flags -----------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wwrite-strings \
        -Werror=vla -Wno-missing-field-initializers
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(SANFLAGS) -I. $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := $(SANFLAGS) $(LDFLAGS)
# Machine code for Ampere and Hopper, and PTX that later drivers compile for what came after. The host half of
# a .cu file throws nothing and uses no C++ library, so that the C compiler links the program.
NVFLAGS := -O3 -std=c++17 -I. -DHAVE_CUDA=1 -Wno-deprecated-gpu-targets -Xcompiler=-Wall,-Wextra,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics \
           -gencode=arch=compute_80,code=[sm_80,compute_80] -gencode=arch=compute_90a,code=sm_90a
LDLIBS := $(PKG_LIBS) -lm -lpthread -ldl

# ---- sources ---------------------------------------------------------------------------------------

# Every folder of these rooms is built; the kernels' of other processors are left out, and backends' that need
# a compiler of their own are added with its feature.
ROOMS := base device kernels engine results report bench
FOREIGN := $(if $(filter x86_64 amd64 i%86,$(UNAME_M)),,kernels/x86) $(if $(filter aarch64 arm64,$(UNAME_M)),,kernels/arm)
DIRS := $(filter-out $(FOREIGN),$(sort $(shell find $(ROOMS) -type d 2>/dev/null)))

SRC  := $(filter-out bench/cli/main.c,$(wildcard $(addsuffix /*.c,$(DIRS))))
OBJ  := $(SRC:%.c=$(BUILD)/obj/%.o)
ifeq ($(CUDA),yes)
OBJ  += $(patsubst %.cu,$(BUILD)/obj/%.cu.o,$(wildcard kernels/cuda/*.cu))
endif
LIB  := $(BUILD)/libridge.a
TEST_SRC := $(wildcard tests/*/test_*.c)
TESTS := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS := $(FUZZ_SRC:tests/%.c=$(BUILD)/%)

# ---- build -----------------------------------------------------------------------------------------

.PHONY: all
all: $(BUILD)/bench ## build build/bench (the default)

# Instruction-set files: the name's ending decides, nothing else is compiled for more than the baseline.
%_avx2.o: ISAFLAGS := -mavx2 -mfma -mf16c
%_avx512.o: ISAFLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
%_avx512_bf16.o: ISAFLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mavx2 -mfma -mf16c
%_avx512_vnni.o: ISAFLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c
%_neon_bf16.o: ISAFLAGS := -march=armv8.2-a+bf16
%_neon_dot.o: ISAFLAGS := -march=armv8.2-a+dotprod
# Portable kernels, the generator of weights and the scoring of logits are worth the compiler's full effort, though not under
# sanitizers. Fuzzers feed parsers: instrumenting register tiles for them takes clang many minutes.
FULL_EFFORT := $(if $(SAN),,-O3) -ffp-contract=off
$(BUILD)/obj/kernels/%.o: EXTRA := $(FULL_EFFORT) $(if $(findstring fuzzer,$(SAN)),-fno-sanitize=all)
$(BUILD)/obj/engine/load/%.o: EXTRA := $(FULL_EFFORT)
$(BUILD)/obj/engine/text/%.o: EXTRA := $(FULL_EFFORT)
$(BUILD)/obj/engine/quantize/%.o: EXTRA := $(FULL_EFFORT)
$(BUILD)/obj/bench/quality/%.o: EXTRA := $(FULL_EFFORT)

# The feature table, printed once; what is missing stops the build here, in one line.
$(BUILD)/features: tools/features.sh
	@mkdir -p $(@D)
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' tools/features.sh --required
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' PAPI='$(PAPI)' CUDA='$(CUDA)' NVCC='$(NVCC)' tools/features.sh >$@
	@cat $@

# A file that changes when the compiler or any flag does; every object depends on it.
STAMP_TEXT := $(CC) $(if $(filter yes,$(CUDA)),$(NVCC) $(NVFLAGS)) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS)
$(BUILD)/flags: FORCE | $(BUILD)/features
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(STAMP_TEXT))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(STAMP_TEXT))' >$@
.PHONY: FORCE
FORCE:

# Commit, flags and library versions, for the build record; only the file that has them is rebuilt.
$(BUILD)/gen/build_info.h: FORCE
	@mkdir -p $(@D)
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' PKGS='$(PKGS)' OPT='$(OPT) $(CFLAGS)' SAN='$(SAN)' \
	    FLAGS='$(subst ','\'',-std=c11 $(OPT) $(SANFLAGS) $(CFLAGS))' tools/build_info.sh $@
$(BUILD)/obj/bench/probe/build.o: EXTRA := -I$(BUILD)/gen
$(BUILD)/obj/bench/probe/build.o: $(BUILD)/gen/build_info.h

# The report's glossary is docs/GLOSSARY.md.
$(BUILD)/gen/glossary.h: docs/GLOSSARY.md tools/glossary.sh
	@mkdir -p $(@D)
	@tools/glossary.sh $@ && touch $@
$(BUILD)/obj/report/glossary.o: EXTRA := -I$(BUILD)/gen
$(BUILD)/obj/report/glossary.o: $(BUILD)/gen/glossary.h

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC    $<')
	$(Q)$(CC) $(CFLAGS_ALL) $(EXTRA) $(ISAFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  NVCC  $<')
	$(Q)$(NVCC) $(NVFLAGS) $(NVEXTRA) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(LIB): $(OBJ)
	$(if $(V),,@echo '  AR    $@')
	@rm -f $@
	$(Q)$(AR) rcs $@ $(OBJ)

$(BUILD)/bench: $(BUILD)/obj/bench/cli/main.o $(LIB)
	$(if $(V),,@echo '  LINK  $@')
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS)

# CUPTI's header of its profiler's host part includes a header of C++ that it does not use.
$(BUILD)/tests/device/test_cuda_counters: EXTRA := -Itests/device/no_cpp

$(BUILD)/tests/%: tests/%.c $(LIB) $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  TEST  $<')
	$(Q)$(CC) $(CFLAGS_ALL) $(EXTRA) $(TEST_CFLAGS) -MMD -MP -o $@ $< $(LIB) $(TEST_LIBS) $(LDLIBS)

.PHONY: features
features: ## print what was found on this machine, and what is lost without the rest
	@CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' PAPI='$(PAPI)' CUDA='$(CUDA)' NVCC='$(NVCC)' tools/features.sh

# ---- tests -----------------------------------------------------------------------------------------

.PHONY: tests test check-kernels sanitize sanitize-address sanitize-thread fuzz
tests: $(BUILD)/bench $(TESTS) ## build the tests without running them

test: tests ## run all tests; ends with "N passed, N failed, N skipped"
	tools/run_tests.sh $(BUILD)

check-kernels: $(BUILD)/bench ## prove every kernel variant this machine can run against kernels/ref
	$(BUILD)/bench kernel check

sanitize: ## run all tests under address+undefined, then under thread
	$(MAKE) sanitize-address
	$(MAKE) sanitize-thread

sanitize-address: ## run all tests under the address and undefined-behaviour sanitizers
	TEST_TIMEOUT=600 $(MAKE) BUILD=$(BUILD)/asan SAN=address,undefined OPT='-O1 -g' test

sanitize-thread: ## run all tests under the thread sanitizer
	TEST_TIMEOUT=600 $(MAKE) BUILD=$(BUILD)/tsan SAN=thread OPT='-O1 -g' test

fuzz: ## fuzz each parser for FUZZ_SECONDS (10) from its kept corpus; needs clang
	$(MAKE) CC=clang BUILD=$(BUILD)/fuzz SAN=fuzzer-no-link,address,undefined OPT='-O1 -g' fuzzers
	tools/run_fuzzers.sh $(BUILD)/fuzz/fuzz $(FUZZ_SECONDS)

.PHONY: fuzzers
fuzzers: $(FUZZERS)
$(BUILD)/fuzz/%: tests/fuzz/%.c $(LIB) $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  FUZZ  $<')
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -MMD -MP -o $@ $< $(LIB) $(LDLIBS)

# ---- source ----------------------------------------------------------------------------------------

.PHONY: warnings
warnings: # for tools/check_*.sh, which compile without this file
	@echo '$(WARN)'

.PHONY: check-arm64
check-arm64: ## compile every source for 64-bit ARM with a cross compiler, without linking
	tools/check_arm64.sh

.PHONY: check-macos
check-macos: ## compile every source for macOS on Apple silicon with zig's compiler, without linking
	tools/check_macos.sh

.PHONY: lint format
lint: ## check who includes whom, names of globals, headers alone, format, sizes, habits and prose
	CFLAGS='$(PKG_CFLAGS)' tools/lint.sh

format: ## let clang-format decide
	git ls-files '*.c' '*.h' | xargs clang-format -i

# ---- install ---------------------------------------------------------------------------------------

SHARE := $(DESTDIR)$(PREFIX)/share/ridge
# Data the program reads: everything in these folders that is not C.
DATA = $(shell find suites models report bench.conf LICENSE -type f ! -name '*.[ch]' ! -name '*.py' 2>/dev/null)

# What the program prints about itself goes where man and the shells look for it: FILE:ARGUMENTS_OF_BENCH.
PAGES = man/man1/bench.1:help.--man bash-completion/completions/bench:completion.bash \
        zsh/site-functions/_bench:completion.zsh fish/vendor_completions.d/bench.fish:completion.fish

.PHONY: install uninstall clean help
install: $(BUILD)/bench ## copy bench, its manual page, completions and data below PREFIX (PREFIX, DESTDIR)
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 755 $(BUILD)/bench '$(DESTDIR)$(PREFIX)/bin/bench'
	$(Q)for page in $(PAGES); do \
	    file="$(DESTDIR)$(PREFIX)/share/$${page%%:*}"; words="$${page#*:}"; \
	    install -d "$$(dirname "$$file")" && \
	    $(BUILD)/bench $${words%%.*} "$${words#*.}" >"$$file" && chmod 644 "$$file" || exit 1; \
	done
	$(Q)for file in $(DATA); do \
	    install -d "$(SHARE)/$$(dirname $$file)" && \
	    install -m 644 "$$file" "$(SHARE)/$$file" || exit 1; \
	done
	@echo "installed: $(DESTDIR)$(PREFIX)/bin/bench, $(SHARE)"

uninstall: ## remove what install put there
	rm -f '$(DESTDIR)$(PREFIX)/bin/bench'
	$(Q)for page in $(PAGES); do rm -f "$(DESTDIR)$(PREFIX)/share/$${page%%:*}" || exit 1; done
	rm -rf '$(SHARE)'

clean: ## remove the build folder
	rm -rf $(BUILD)

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'
	@echo '  Variables: BUILD CC OPT CFLAGS LDFLAGS SAN PAPI=yes|no|auto CUDA=yes|no|auto STATIC=yes|no NVCC PREFIX DESTDIR FUZZ_SECONDS V=1'

-include $(OBJ:.o=.d) $(BUILD)/obj/bench/cli/main.d $(TESTS:=.d) $(FUZZERS:=.d)
