# For people who type make. Needs Rust, a C compiler and GNU make; cargo does the rest. `make help` lists what there is to make.

CARGO       ?= cargo
GO          ?= go
INSTALL     ?= install
PREFIX      ?= /usr/local
LIBDIR      ?= $(PREFIX)/lib
INCLUDEDIR  ?= $(PREFIX)/include
PCDIR       ?= $(LIBDIR)/pkgconfig
CMAKEDIR    ?= $(LIBDIR)/cmake/wal
BINDIR      ?= $(PREFIX)/bin
DATADIR     ?= $(PREFIX)/share
MANDIR      ?= $(DATADIR)/man
GODIR       ?= $(PREFIX)/share/wal/go
DESTDIR     ?=
CFLAGS      ?= -O2 -g
# How often `make demo` pulls the plug.
ROUNDS      ?= 25
# How long `make prove` tries to lose something, in minutes; empty: what CI has time for.
LONG        ?=
# Which part of the mutants `make mutants` tries: the first of one.
SHARD       ?= 1/1

VERSION     := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
ABI         := $(shell sed -n 's/^\#define WAL_ABI_VERSION  *\([0-9]*\).*/\1/p' include/wal.h)
CARGO_DIR   := $(or $(CARGO_TARGET_DIR),target)
# What the static archive needs beside it, as `rustc --print native-static-libs` says, less what every C compiler adds by itself.
NATIVE_LIBS := -lpthread -lm -ldl -lrt -lutil
C_FLAGS     := -std=c11 -Wall -Wextra -Iinclude $(CFLAGS)

# V=1 shows the commands.
ifdef V
Q     :=
QUIET :=
else
Q     := @
QUIET := --quiet
endif

.PHONY: all demo test format-check lint-check rust-tests go-test go-tests go-bench plants prove prove-simulated prove-recorded prove-memory prove-kills \
	prove-failing-disk prove-interleavings prove-models prove-pins prove-fuzz prove-plants mutants mutants-quick mutants-table coverage fuzz bench flash firmware \
	foreign littlefs abi-baseline install install-library install-go install-walctl uninstall uninstall-library uninstall-go uninstall-walctl walctl walctl-test clean \
	help FORCE
.DELETE_ON_ERROR:

all: build/libwal.so build/libwal.a build/header-checked
	@echo "built: build/libwal.so ($(VERSION), ABI $(ABI)), build/libwal.a, include/wal.h; next: make test, make demo, make install"

help:
	@echo "make            the shared library, the static one, and a check that the header names what they export"
	@echo "make demo       a key-value store on the log, killed $(ROUNDS) times (ROUNDS=n) and compared each time"
	@echo "make test       formatting, lints and every test; tools that are missing are named, with CI set they are an error"
	@echo "make go-test    the Go package against the library that make has built; part of make test"
	@echo "make go-bench   what a record costs from Go, beside the same loop in C"
	@echo "make plants     plants the mistakes of other logs one by one, and shows that the tests catch each"
	@echo "make prove      tries every fault and counts what it tried; LONG=minutes goes on for that long and adds up in docs/proof-counts.tsv"
	@echo "make fuzz       fuzzes directories and C calls for LONG minutes"
	@echo "make mutants    small mistakes in what decides about records, and the tests that catch them (SHARD=k/n; stop it and go on at will)"
	@echo "make coverage   branches that the tests take, into docs/COVERAGE.md; needs llvm-cov of the compiler's LLVM"
	@echo "make flash      the log on a simulated flash chip: every script of operations, a power cut at each program and erase"
	@echo "make firmware   a sensor logger for Cortex-M under QEMU, its power cut CUTS times; make -C examples-c/firmware tools installs what it needs"
	@echo "make littlefs   a log in a littlefs on a chip in memory, whose power fails at every STEP-th program and erase"
	@echo "make foreign    the tests on machines of 32 bits and with the highest byte first, emulated; make -C prove/foreign tools installs what it needs"
	@echo "make bench      measures this log beside bare loops; CHECK=1 is quick, and looks at counts instead of times; PEERS=1 beside other logs"
	@echo "make abi-baseline  accepts include/wal.h as it is now as the interface that later versions must keep (abi/)"
	@echo "make walctl     the command-line tool, its manual pages and completions; make walctl-test tries it"
	@echo "make install    into PREFIX ($(PREFIX)), below DESTDIR if set; also LIBDIR, INCLUDEDIR, PCDIR, CMAKEDIR"
	@echo "make uninstall  removes what install put there"
	@echo "make clean      removes everything that was built"
	@echo "V=1 shows the commands"

build:
	@mkdir -p $@

# Cargo knows best what is up to date, so it is asked each time; what it made is copied only if it differs. One crate type for each call: with
# several, cargo leaves link-time optimization out without a word. The archive goes without: two Rust archives optimized so clash in one program.
build/libwal.so: FORCE | build
	@echo "  CARGO   $@"
	$(Q)$(CARGO) rustc $(QUIET) --locked --release --lib --crate-type cdylib --config 'profile.release.lto="fat"'
	$(Q)cmp -s $(CARGO_DIR)/release/libwal.so $@ || cp $(CARGO_DIR)/release/libwal.so $@
	$(Q)ln -sf libwal.so build/libwal.so.$(ABI)

build/libwal.a: FORCE | build
	@echo "  CARGO   $@"
	$(Q)$(CARGO) rustc $(QUIET) --locked --release --lib --crate-type staticlib
	$(Q)cmp -s $(CARGO_DIR)/release/libwal.a $@ || cp $(CARGO_DIR)/release/libwal.a $@

# The quick check: the header compiles, and names the functions that the library exports. `make test` has the thorough ones.
build/header-checked: include/wal.h build/libwal.so examples-c/first.c
	@echo "  CHECK   include/wal.h"
	$(Q)$(CC) $(C_FLAGS) -Werror -o build/first examples-c/first.c build/libwal.so
	$(Q)nm -D --defined-only build/libwal.so | sed -n 's/.* T //p' | LC_ALL=C sort > build/exported
	$(Q)sed -n '/^WAL_API/,/(/s/.*\(wal_[a-z_]*\)(.*/\1/p' include/wal.h | LC_ALL=C sort > build/declared
	$(Q)diff build/exported build/declared || { echo "The library (<) and include/wal.h (>) differ: UPDATE_HEADER=1 $(CARGO) test --test header"; exit 1; }
	@touch $@

build/demo: examples-c/demo.c examples-c/kvstore.c examples-c/kvstore.h include/wal.h build/libwal.a
	@echo "  CC      $@"
	$(Q)$(CC) $(C_FLAGS) -DWAL_STATIC -o $@ examples-c/demo.c examples-c/kvstore.c build/libwal.a $(NATIVE_LIBS)

# What a failed run leaves behind is evidence and stays.
demo: build/demo
	$(Q)work=$$(mktemp -d "$${TMPDIR:-/tmp}/wal-demo.XXXXXX") && build/demo . "$$work" $(ROUNDS) && rmdir "$$work"

# One after the other, whatever -j says: cargo locks its directory anyway, and mixed output helps nobody.
test:
	$(Q)$(MAKE) --no-print-directory format-check
	$(Q)$(MAKE) --no-print-directory lint-check
	$(Q)$(MAKE) --no-print-directory rust-tests
	$(Q)$(MAKE) --no-print-directory go-test

# $(call if_present,component,command): rustfmt and clippy are parts of a Rust installation that not everybody has.
if_present = if $(CARGO) $(1) --version > /dev/null 2>&1; then $(2); \
	elif [ -n "$$CI" ]; then echo "cargo $(1) is missing"; exit 1; \
	else echo "cargo $(1) is missing: skipped (rustup component add $(3))"; fi

format-check:
	@echo "  FORMAT"
	$(Q)$(call if_present,fmt,$(CARGO) fmt --all --check,rustfmt)

lint-check:
	@echo "  LINT"
	$(Q)$(call if_present,clippy,$(CARGO) clippy $(QUIET) --locked --workspace --all-targets -- -D warnings,clippy)

rust-tests:
	@echo "  TEST"
	$(Q)$(CARGO) test --locked --workspace --no-fail-fast

# The Go package, as installed, against the shared library and against the archive; the latter with the race detector and the checks of what
# goes to C. Go's cache knows nothing of what stands behind pkg-config: a macro that nobody reads carries a checksum of it into the cache's keys.
GO_ROOT     := $(CURDIR)/build/go-root
GO_FUZZ     ?= 10s
GO_TEST      = PKG_CONFIG_PATH='$(GO_ROOT)/lib/pkgconfig' LD_LIBRARY_PATH='$(GO_ROOT)/lib' GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOPROXY=off \
	CGO_CFLAGS="-O2 -g -DWAL_BUILD=$$(cd .. && cat build/libwal.so build/libwal.a include/wal.h | cksum | cut -d ' ' -f 1)"

go-test: build/libwal.so build/libwal.a
	@echo "  GO"
	$(Q)if GOTOOLCHAIN=local $(GO) -C go list > /dev/null 2>&1; then $(MAKE) --no-print-directory go-tests; \
	elif [ -n "$$CI" ]; then echo "Go 1.24 is missing"; exit 1; \
	else echo "Go 1.24 is missing: its tests are skipped"; fi

go-tests:
	$(Q)$(MAKE) --no-print-directory install DESTDIR= PREFIX='$(GO_ROOT)' > /dev/null
	$(Q)unformatted=$$(cd go && $(GO)fmt -l .) && if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	$(Q)cd go && export $(GO_TEST) && $(GO) vet ./... && $(GO) test ./...
	$(Q)cd go && export $(GO_TEST) GOEXPERIMENT=cgocheck2 && $(GO) vet -tags wal_static ./... && $(GO) test -race -tags wal_static ./...
	$(Q)cd go && export $(GO_TEST) && $(GO) test -run '^$$' -fuzz FuzzOpen -fuzztime $(GO_FUZZ) -fuzzminimizetime 10x . > ../build/go-fuzz.log 2>&1 || \
		{ cat ../build/go-fuzz.log; exit 1; }
	$(Q)tail -n 3 build/go-fuzz.log

plants:
	$(Q)$(CARGO) run $(QUIET) --locked --package wal-prove --bin prove-plants

# The proof: every suite, then one table of what they tried. A suite is a target below and a word in PROVE_SUITES. What it prints as
# `tally: NAME COUNT UNIT` goes into the table.
PROVE_DIR    := $(CARGO_DIR)/prove-logs
PROVE_SUITES := prove-simulated prove-recorded prove-memory prove-kills prove-failing-disk prove-interleavings prove-models prove-pins prove-fuzz \
	prove-plants

# $(call proves,name,command): runs a suite, shows what it says if it fails, and collects its counts.
proves = mkdir -p $(PROVE_DIR); echo "  PROVE   $(1)"; \
	if { $(2); } > $(PROVE_DIR)/$(1).log 2>&1; then sed -n 's/.*\(tally: .*\)/\1/p' $(PROVE_DIR)/$(1).log >> $(PROVE_DIR)/tally; \
	else cat $(PROVE_DIR)/$(1).log; echo "$(1) failed"; exit 1; fi

prove:
	@mkdir -p $(PROVE_DIR) && rm -f $(PROVE_DIR)/tally
	$(Q)for suite in $(PROVE_SUITES); do $(MAKE) --no-print-directory $$suite || exit 1; done
	$(Q)$(CARGO_DIR)/prove/prove --table $(PROVE_DIR)/tally

# Shows its own progress, and writes its own counts. Only this one runs for longer if asked to.
prove-simulated:
	@mkdir -p $(PROVE_DIR)
	@echo "  PROVE   simulated"
	$(Q)$(CARGO) build $(QUIET) --locked --profile prove -p wal-prove --bin prove
	$(Q)RUST_BACKTRACE=0 $(CARGO_DIR)/prove/prove $(if $(LONG),--long $(LONG)) --tally $(PROVE_DIR)/tally

prove-recorded:
	$(Q)$(call proves,recorded,$(CARGO) run $(QUIET) --locked --profile prove -p wal-prove --bin prove-recorded)

prove-memory:
	$(Q)$(call proves,memory,$(CARGO) test $(QUIET) --locked -p wal-ffi-tests --test memory -- archive --nocapture)

prove-kills: build/libwal.a
	$(Q)$(call proves,kills,$(MAKE) --no-print-directory -C prove/real kills)

prove-failing-disk: build/libwal.a
	$(Q)$(call proves,failing-disk,$(MAKE) --no-print-directory -C prove/real failing-disk)

prove-interleavings:
	$(Q)$(call proves,interleavings,$(CARGO) test $(QUIET) --locked --release --manifest-path interleave/Cargo.toml -- --nocapture)

prove-pins:
	$(Q)$(call proves,pins,$(CARGO) test $(QUIET) --locked -p wal-prove --test pins -- --nocapture)

prove-plants:
	$(Q)$(call proves,plants,$(CARGO) run $(QUIET) --locked -p wal-prove --bin prove-plants)

prove-models:
	$(Q)$(call proves,models,$(CARGO) test $(QUIET) --locked --manifest-path models/Cargo.toml -- --nocapture)

prove-fuzz:
	$(Q)$(call proves,fuzz,$(CARGO) test $(QUIET) --locked --no-default-features --manifest-path fuzz/Cargo.toml -- --nocapture)

# New inputs that reach something new stay in fuzz/corpus.
fuzz:
	$(Q)fuzz/run $(or $(LONG),1)

# With cargo-mutants (cargo install --locked cargo-mutants).
mutants:
	$(Q)prove/mutants/mutants.py run --shard $(SHARD)

# What changed since the outcomes were written, the rules of the protocol, and a slice of the rest that turns with the commit.
mutants-quick:
	$(Q)prove/mutants/mutants.py quick 75

mutants-table:
	$(Q)prove/mutants/mutants.py table

coverage:
	$(Q)prove/coverage/coverage.py

# Cargo fetches littlefs, nothing of it is built by Cargo. Its sources are compiled as they are, so without our warnings.
STEP ?= 1
littlefs: build/libwal.a
	@echo "  CC      build/littlefs"
	$(Q)sources=$$($(CARGO) metadata --locked --format-version 1 --manifest-path examples-c/littlefs/Cargo.toml | \
	  sed -n 's/.*"manifest_path":"\([^"]*littlefs2-sys[^"]*\)\/Cargo.toml".*/\1/p')/littlefs && \
	for file in lfs lfs_util; do \
	  $(CC) -std=c11 -O2 -w -DLFS_NO_DEBUG -DLFS_NO_WARN -DLFS_NO_ERROR -c -o build/$$file.o $$sources/$$file.c || exit 1; \
	done && \
	$(CC) $(C_FLAGS) -Werror -DWAL_STATIC -isystem $$sources -o build/littlefs examples-c/littlefs/power.c examples-c/littlefs/wal_littlefs.c \
	  build/lfs.o build/lfs_util.o build/libwal.a $(NATIVE_LIBS)
	$(Q)build/littlefs $(STEP)

abi-baseline:
	$(Q)UPDATE_ABI=1 $(CARGO) test $(QUIET) --locked --package wal --test hosts -- --exact abi::nothing_is_taken_away_or_changed

go-bench: build/libwal.so build/libwal.a
	$(Q)$(MAKE) --no-print-directory install DESTDIR= PREFIX='$(GO_ROOT)' > /dev/null
	$(Q)cd go && export $(GO_TEST) && $(GO) test -run '^$$' -bench . .

# The log on flash, in a workspace of its own: what it shares with the engine is built without std.
flash:
	$(Q)$(CARGO) test $(QUIET) --locked --manifest-path flash/Cargo.toml --workspace
	$(Q)$(CARGO) run $(QUIET) --locked --manifest-path flash/Cargo.toml --profile prove -p wal-flash-sim -- $(if $(LONG),--long)

# Power cuts for each of three machines.
CUTS ?= 100

firmware:
	$(Q)$(MAKE) --no-print-directory -C examples-c/firmware cuts size CUTS=$(CUTS) BUILD=$(abspath build)/firmware

# Machines of another kind under QEMU's user mode, and the logs that they read of each other.
foreign: build/libwal.a
	$(Q)$(MAKE) --no-print-directory -C prove/foreign BUILD=$(abspath build)/foreign LIBRARY=$(abspath build)/libwal.a

bench:
	$(Q)CHECK=$(CHECK) $(CARGO) run $(QUIET) --locked --release --manifest-path bench/Cargo.toml

# $(call below_prefix,DIRECTORY,VARIABLE): the directory as an installed file names it, relative to its prefix, so that the whole can be moved.
below_prefix = $(patsubst $(PREFIX)/%,$${$(2)}/%,$(1))
# The way from the CMake package up to the prefix: one step for each directory.
to_prefix    = $(subst $() ,/,$(foreach part,$(subst /, ,$(patsubst $(PREFIX)/%,%,$(CMAKEDIR))),..))
substitute   = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@ABI@|$(ABI)|' -e 's|@NATIVE_LIBS@|$(NATIVE_LIBS)|' \
	-e 's|@LIBDIR@|$(call below_prefix,$(LIBDIR),$(1))|' -e 's|@GODIR@|$(call below_prefix,$(GODIR),$(1))|' -e 's|@INCLUDEDIR@|$(call below_prefix,$(INCLUDEDIR),$(1))|' \
	-e 's|@CMAKE_PREFIX@|$(if $(filter $(PREFIX)/%,$(CMAKEDIR)),$${_wal_here}/$(to_prefix),$(PREFIX))|' \
	-e 's|@CMAKE_NATIVE_LIBS@|$(subst $() ,;,$(patsubst -l%,%,$(NATIVE_LIBS)))|'

# What the Go package is made of; its tests and examples stay here.
GO_FILES    := go/go.mod go/bridge.h $(filter-out %_test.go,$(wildcard go/*.go))


# Installs what `make` has built, so that root need not be able to build; builds only if nothing is there. What else is to be installed, a program or
# manual pages, gets a pair of rules of its own like these.
install: install-library install-go install-walctl
	@echo "installed into $(DESTDIR)$(PREFIX); if programs do not find libwal.so.$(ABI) there, run ldconfig"

uninstall: uninstall-library uninstall-go uninstall-walctl

install-library:
	$(Q)test -f build/header-checked -a -f build/libwal.a || $(MAKE) --no-print-directory all
	$(Q)$(INSTALL) -d "$(DESTDIR)$(LIBDIR)" "$(DESTDIR)$(INCLUDEDIR)" "$(DESTDIR)$(PCDIR)" "$(DESTDIR)$(CMAKEDIR)"
	$(Q)$(INSTALL) -m 755 build/libwal.so "$(DESTDIR)$(LIBDIR)/libwal.so.$(VERSION)"
	$(Q)ln -sf libwal.so.$(VERSION) "$(DESTDIR)$(LIBDIR)/libwal.so.$(ABI)"
	$(Q)ln -sf libwal.so.$(ABI) "$(DESTDIR)$(LIBDIR)/libwal.so"
	$(Q)$(INSTALL) -m 644 build/libwal.a "$(DESTDIR)$(LIBDIR)/libwal.a"
	$(Q)$(INSTALL) -m 644 include/wal.h include/wal.hpp "$(DESTDIR)$(INCLUDEDIR)"
	$(Q)for file in wal.pc wal-static.pc; do \
		$(call substitute,prefix) $$file.in > build/$$file && $(INSTALL) -m 644 build/$$file "$(DESTDIR)$(PCDIR)/$$file" || exit 1; done
	$(Q)for file in wal-config.cmake wal-config-version.cmake; do \
		$(call substitute,_wal_prefix) cmake/$$file.in > build/$$file && \
		$(INSTALL) -m 644 build/$$file "$(DESTDIR)$(CMAKEDIR)/$$file" || exit 1; done

install-go: install-library
	$(Q)$(INSTALL) -d "$(DESTDIR)$(GODIR)"
	$(Q)$(INSTALL) -m 644 $(GO_FILES) LICENSE "$(DESTDIR)$(GODIR)"

uninstall-library:
	$(Q)rm -f "$(DESTDIR)$(LIBDIR)/libwal.so.$(VERSION)" "$(DESTDIR)$(LIBDIR)/libwal.so.$(ABI)" "$(DESTDIR)$(LIBDIR)/libwal.so" \
		"$(DESTDIR)$(LIBDIR)/libwal.a" "$(DESTDIR)$(INCLUDEDIR)/wal.h" "$(DESTDIR)$(INCLUDEDIR)/wal.hpp" "$(DESTDIR)$(PCDIR)/wal.pc" \
		"$(DESTDIR)$(PCDIR)/wal-static.pc" \
		"$(DESTDIR)$(CMAKEDIR)/wal-config.cmake" "$(DESTDIR)$(CMAKEDIR)/wal-config-version.cmake"
	$(Q)rmdir "$(DESTDIR)$(CMAKEDIR)" 2> /dev/null || true

uninstall-go:
	$(Q)rm -f $(patsubst go/%,"$(DESTDIR)$(GODIR)"/%,$(GO_FILES)) "$(DESTDIR)$(GODIR)/LICENSE"
	$(Q)rmdir "$(DESTDIR)$(GODIR)" "$(DESTDIR)$(dir $(GODIR))" 2> /dev/null || true

# The command-line tool, which is installed if it was built. Its workspace is its own.
WALCTL_DIR     := $(or $(CARGO_TARGET_DIR),walctl/target)/release
WALCTL_BASH    := $(DATADIR)/bash-completion/completions/walctl
WALCTL_ZSH     := $(DATADIR)/zsh/site-functions/_walctl
WALCTL_FISH    := $(DATADIR)/fish/vendor_completions.d/walctl.fish

walctl: | build
	@echo "  CARGO   build/walctl"
	$(Q)$(CARGO) build $(QUIET) --locked --release --manifest-path walctl/Cargo.toml
	$(Q)cmp -s $(WALCTL_DIR)/walctl build/walctl || cp $(WALCTL_DIR)/walctl build/walctl
	$(Q)rm -rf build/walctl-pages && mkdir build/walctl-pages && build/walctl man build/walctl-pages
	$(Q)for shell in bash zsh fish; do build/walctl completions $$shell > build/walctl-pages/walctl.$$shell || exit 1; done
	@echo "built: build/walctl, manual pages and completions beside it; make install takes them along"

walctl-test:
	$(Q)$(CARGO) fmt --manifest-path walctl/Cargo.toml --check
	$(Q)$(CARGO) clippy $(QUIET) --locked --manifest-path walctl/Cargo.toml --all-targets -- -D warnings
	$(Q)$(CARGO) test --locked --manifest-path walctl/Cargo.toml

install-walctl: install-library
	$(Q)if [ -f build/walctl ]; then \
		$(INSTALL) -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(dir $(WALCTL_BASH))" "$(DESTDIR)$(dir $(WALCTL_ZSH))" \
			"$(DESTDIR)$(dir $(WALCTL_FISH))" && \
		$(INSTALL) -m 755 build/walctl "$(DESTDIR)$(BINDIR)/walctl" && \
		$(INSTALL) -m 644 build/walctl-pages/*.1 "$(DESTDIR)$(MANDIR)/man1" && \
		$(INSTALL) -m 644 build/walctl-pages/walctl.bash "$(DESTDIR)$(WALCTL_BASH)" && \
		$(INSTALL) -m 644 build/walctl-pages/walctl.zsh "$(DESTDIR)$(WALCTL_ZSH)" && \
		$(INSTALL) -m 644 build/walctl-pages/walctl.fish "$(DESTDIR)$(WALCTL_FISH)"; fi

uninstall-walctl:
	$(Q)rm -f "$(DESTDIR)$(BINDIR)/walctl" "$(DESTDIR)$(MANDIR)"/man1/walctl.1 "$(DESTDIR)$(MANDIR)"/man1/walctl-*.1 \
		"$(DESTDIR)$(WALCTL_BASH)" "$(DESTDIR)$(WALCTL_ZSH)" "$(DESTDIR)$(WALCTL_FISH)"

clean:
	$(Q)$(CARGO) clean $(QUIET)
	$(Q)rm -rf build
