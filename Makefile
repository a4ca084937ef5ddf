# Makefile - builds build/bench and its tests. `make help` lists the targets.
#
# One non-recursive file: sources are found by folder, objects mirror them under $(BUILD), flags that
# change rebuild everything (the stamp), and only files named for an instruction set get its flags.

BUILD   ?= build
PREFIX  ?= /usr/local
CC      ?= cc
SAN     ?=
OPT     ?= -O2 -g

UNAME_S := $(shell uname -s)
UNAME_M := $(shell $(CC) -dumpmachine | cut -d- -f1)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wwrite-strings \
        -Werror=vla
PKGS := hwloc jansson libpcre2-8 libutf8proc sqlite3 libcrypto
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -linih

# PAPI: yes, no or auto. The others are programs or libraries opened at run time: see tools/features.sh.
PAPI ?= auto
ifeq ($(PAPI),auto)
PAPI := $(shell printf '\#include <papi.h>\nint main(void){return PAPI_library_init(PAPI_VER_CURRENT)<0;}' | \
          $(CC) -x c - -o /dev/null -lpapi 2>/dev/null && echo yes || echo no)
endif
ifeq ($(PAPI),yes)
PKG_CFLAGS += -DHAVE_PAPI=1
PKG_LIBS   += -lpapi
else
PKG_CFLAGS += -DHAVE_PAPI=0
endif

SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(SANFLAGS) -I. $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := $(SANFLAGS) $(LDFLAGS)
LDLIBS := $(PKG_LIBS) -lm -lpthread -ldl

DIRS := base kernels kernels/ref engine engine/load engine/model engine/cpu results report \
        bench/cli bench/suite bench/run bench/probe bench/roof
ifneq ($(filter x86_64 amd64 i%86,$(UNAME_M)),)
DIRS += kernels/x86
endif
ifneq ($(filter aarch64 arm64,$(UNAME_M)),)
DIRS += kernels/arm
endif

SRC  := $(filter-out bench/cli/main.c,$(wildcard $(addsuffix /*.c,$(DIRS))))
OBJ  := $(SRC:%.c=$(BUILD)/obj/%.o)
LIB  := $(BUILD)/libridge.a
TEST_SRC := $(wildcard tests/*/test_*.c)
TESTS := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)

.PHONY: all
all: $(BUILD)/bench

# Instruction-set files: the name's ending decides, nothing else is compiled for more than the baseline.
%_avx2.o: ISAFLAGS := -mavx2 -mfma -mf16c
%_avx512.o: ISAFLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
%_avx512_bf16.o: ISAFLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mavx2 -mfma -mf16c
%_avx512_vnni.o: ISAFLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c
# Portable kernels and the generator of weights are worth the compiler's full effort.
$(BUILD)/obj/kernels/%.o: EXTRA := -O3 -ffp-contract=off
$(BUILD)/obj/engine/load/%.o: EXTRA := -O3 -ffp-contract=off

# The stamp changes when the compiler or any flag does, and every object depends on it.
STAMP_TEXT := $(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(STAMP_TEXT))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(STAMP_TEXT))' >$@
.PHONY: FORCE
FORCE:

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(EXTRA) $(ISAFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(OBJ)
	@rm -f $@
	$(AR) rcs $@ $(OBJ)

$(BUILD)/bench: $(BUILD)/obj/bench/cli/main.o $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/%: tests/%.c $(LIB) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -o $@ $< $(LIB) -lcmocka $(LDLIBS)

.PHONY: test
test: $(BUILD)/bench $(TESTS)
	tools/run_tests.sh $(BUILD)

.PHONY: clean
clean:
	rm -rf $(BUILD)

-include $(OBJ:.o=.d) $(BUILD)/obj/bench/cli/main.d $(TESTS:=.d)
