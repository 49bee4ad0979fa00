# unrdf: background work that can be proved.
#
#   make            build              make demo     the main job on this machine's package history
#   make install    install            make test     every test suite
#   make bench      measure            make soak     the long tests
#   make ha         trials of faults      make ha-quiet a watch for false failovers
#   make ha-runbook what the cluster's page tells to do
#   make fuzz       the parsers, longer   make dist     a release archive
#   make check-style

EXTENSION = unrdf
MODULE_big = unrdf
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" unrdf.control)

OBJS = $(patsubst %.c,%.o,$(sort $(filter-out src/verifier/%,$(wildcard src/*.c src/*/*.c))))
SCRIPTS_built = unrdf-verify
SQL_PARTS = $(sort $(wildcard sql/[0-9][0-9]_*.sql))
DATA = $(wildcard sql/unrdf--*--*.sql)
DATA_built = sql/unrdf--$(EXTVERSION).sql

PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK = -lcrypto -lcurl

# `make installcheck` against a running server. `make test` makes its own and needs none.
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation
TAP_TESTS = 1
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))

# The newest server's pg_config, unless one is named.
ifndef PG_CONFIG
PG_CONFIG := $(lastword $(shell ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -V))
endif
export PG_CONFIG

.DEFAULT_GOAL := all
.PHONY: demo test bench soak fuzz ha ha-quiet ha-runbook check-style dist

# These come before PGXS is needed: test/setup installs it, and the scripts then run make anew.
demo:
	@test/setup && demo/demo
test:
	@test/setup tests && test/run
bench:
	@test/setup && test/bench/run
soak:
	@test/setup && test/run soak
fuzz:
	@test/setup tests && FUZZ_SECONDS=$${FUZZ_SECONDS:-600} test/run fuzz
# N trials (10) of SEED (a random one), or its TRIAL; of one KIND, in J clusters side by side.
ha:
	@test/setup cluster && test/ha/run trials $(foreach option,N SEED TRIAL KIND J,$(if $($(option)),--$(shell echo $(option) | tr A-Z a-z) '$($(option))'))
ha-quiet:
	@test/setup cluster && test/ha/run quiet $(if $(MINUTES),--minutes '$(MINUTES)')
ha-runbook:
	@test/setup cluster && test/ha/run runbook
check-style:
	@test/setup && test/run style
dist:
	git archive --format=tar.gz --prefix=unrdf-$(EXTVERSION)/ -o unrdf-$(EXTVERSION).tar.gz HEAD

# The verifier is a program of its own, without the server: it is built where there is none.
VERIFIER_SOURCES = $(sort $(wildcard src/verifier/*.c src/crypto/*.c))
unrdf-verify: $(VERIFIER_SOURCES) $(sort $(wildcard src/verifier/*.h src/crypto/*.h)) Makefile
	$(CC) -std=gnu99 -O2 -Wall -Wextra -Werror -Isrc -o $@ $(VERIFIER_SOURCES) -lcrypto

ifneq ($(wildcard $(PG_CONFIG)),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
endif

ifneq ($(wildcard $(PGXS)),)
# No bitcode: it would make clang a dependency. "override", because it is set in PGXS.
override with_llvm = no
include $(PGXS)

# PGXS keeps no track of headers.
$(OBJS): $(sort $(wildcard src/*.h src/*/*.h)) Makefile

$(DATA_built): $(SQL_PARTS) unrdf.control Makefile
	cat $(SQL_PARTS) > $@
else
all install clean installcheck:
	@echo "no PostgreSQL server headers found: run test/setup, or name a pg_config with PG_CONFIG=" >&2; exit 1
endif
