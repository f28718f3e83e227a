# cocker: build, test, install. "make help" lists the targets.

PREFIX  ?= /usr
DESTDIR ?=
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

PROGRAMS := cocker cocker-generator cocker-launch cocker-init cocker-dns
UNITS    := $(wildcard units/*.service units/*.slice units/*.target units/*.timer units/*.socket)
MANPAGES := $(wildcard docs/man/*.1 docs/man/*.5 docs/man/*.7 docs/man/*.8)

bindir        := $(DESTDIR)$(PREFIX)/bin
libexecdir    := $(DESTDIR)$(PREFIX)/libexec/cocker
unitdir       := $(DESTDIR)$(PREFIX)/lib/systemd/system
generatordir  := $(DESTDIR)$(PREFIX)/lib/systemd/system-generators
presetdir     := $(DESTDIR)$(PREFIX)/lib/systemd/system-preset
tmpfilesdir   := $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
networkdir    := $(DESTDIR)$(PREFIX)/lib/systemd/network
nmconfdir     := $(DESTDIR)$(PREFIX)/lib/NetworkManager/conf.d
firewalldir   := $(DESTDIR)$(PREFIX)/lib/firewalld/zones
mandir        := $(DESTDIR)$(PREFIX)/share/man
completions   := bash:bash-completion/completions/cocker zsh:zsh/vendor-completions/_cocker fish:fish/vendor_completions.d/cocker.fish

# Static programs without paths of the machine that built them; the init must run in any image.
export CGO_ENABLED := 0
BUILD := $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

TESTHOST    := .cache/cocker-testhost
BENCHMARK   := .cache/cocker-bench
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build test test-unit test-system test-vm test-worst fuzz compare-security bench lint fmt man demo shell-host shell-vm roots disks mmdebstrap qemu deb debhelper unpackaged install uninstall clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

build: ## build the five programs into bin/
	@mkdir -p bin
	$(BUILD) -o bin/ $(PROGRAMS:%=./cmd/%)

# Not as root, the tests that need root say that they were skipped.
test: $(if $(filter 0,$(shell id -u)),roots) ## run the tests (as root: also those on a real systemd and in virtual machines)
	$(GO) test -timeout 50m ./...
	$(if $(filter 0,$(shell id -u)),@$(MAKE) --no-print-directory test-vm)

test-unit: ## run the tests that need no test host
	$(GO) test $$($(GO) list ./... | grep -v /cocker/tests)

# Only what needs a kernel, a boot or controllers of its own: the processor is emulated.
VMTESTS := ^TestVM|^TestBoot$$
test-vm: roots disks ## run the tests that need virtual machines (as root)
	$(GO) test -timeout 60m -p 1 ./tests/host ./tests -vm -run '$(VMTESTS)'

# Not a part of test: it has the machine busy for ten minutes.
test-worst: roots disks ## run the tests of containers that do their worst beside others, in virtual machines (as root)
	$(GO) test -timeout 60m ./tests -vm -run '^TestWorst'

test-system: roots ## run the tests on a real systemd (as root)
	$(GO) test -timeout 50m ./tests/...

# What is found is kept in testdata/fuzz of the package, and each "make test" tries it again.
FUZZTIME ?= 30s
fuzz: ## look for input that breaks a parser, FUZZTIME=30s for each of them
	@set -e; grep -rE --include='*_test.go' -o '^func Fuzz[A-Za-z0-9]*' . | sed 's,/[^/]*:func , ,' | sort | while read -r dir name; do \
		echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir"; done

# The table of docs/security.md.
compare-security: roots ## run the same probe in containers of cocker, Docker, Podman and systemd-nspawn (as root)
	@$(GO) build -o .cache/cocker-security ./tests/security
	@.cache/cocker-security -write docs/security.md

# For example BENCHFLAGS=-json, "-rounds 100", or "-only network-traffic".
bench: roots ## measure containers beside bare services and nspawn, networks, sessions and images beside podman (as root)
	@$(GO) build -o $(BENCHMARK) ./tests/bench
	@$(BENCHMARK) $(BENCHFLAGS)

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go')

man: ## write the manual pages of the commands from their help texts
	rm -f docs/man/*.1
	$(GO) run ./internal/cli/mangen docs/man

demo: mmdebstrap $(TESTHOST) ## show cocker on a real systemd (as root)
	@$(TESTHOST) demo

shell-host: mmdebstrap $(TESTHOST) ## open a shell on a test host with cocker installed (as root)
	@$(TESTHOST) shell

shell-vm: mmdebstrap qemu $(TESTHOST) ## open a shell on a virtual machine with cocker installed (as root)
	@$(TESTHOST) shell --virtual

disks: mmdebstrap qemu $(TESTHOST)
	@$(TESTHOST) build --virtual

roots: mmdebstrap $(TESTHOST) ## make the Debian roots of the test hosts, once
	@$(TESTHOST) build

# Not "go run": that would not pass on the signal that ends it.
.PHONY: $(TESTHOST)
$(TESTHOST):
	@$(GO) build -o $@ ./cmd/cocker-testhost

# $(call need,PROGRAM,PACKAGES,WHAT IT DOES): installs what is missing, if it may.
define need
	@command -v $(1) >/dev/null || { \
		[ "$$(id -u)" = 0 ] || { echo "$(1), which $(3), is missing; install it as root: apt-get install $(2)" >&2; exit 1; }; \
		echo "$(1), which $(3), is missing: apt-get install $(2)"; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y $(2); }
endef

mmdebstrap:
	$(call need,mmdebstrap,mmdebstrap,makes the test hosts)

qemu:
	$(call need,qemu-system-x86_64,--no-install-recommends qemu-system-x86 qemu-utils,runs the virtual machines)
	$(call need,qemu-img,qemu-utils,makes their disks)

debhelper:
	$(call need,dh,debhelper,makes the package)

# Where "make deb" puts the package.
DIST ?= dist

# From a copy: dpkg-buildpackage puts its results beside the source tree. "-d": what
# it would miss is a C compiler, which nothing here needs. Between releases the version
# has the commit's time, so that apt takes a later one for an upgrade.
deb: debhelper ## build a Debian package into dist/
	@rm -rf $(DIST)/source $(DIST)/cocker_*.deb && mkdir -p $(DIST)/source/cocker
	@tar -c --exclude-vcs --exclude=./bin --exclude=./.cache --exclude=./dist . | tar -x -C $(DIST)/source/cocker
	@commit=$$(git describe --tags --exact-match >/dev/null 2>&1 || TZ=UTC git log -1 --format=+git%cd.%h --date=format-local:%Y%m%d%H%M%S 2>/dev/null || :); \
	sed -i "1s/)/$$commit)/" $(DIST)/source/cocker/debian/changelog
	cd $(DIST)/source/cocker && env -u MAKEFLAGS -u MAKEOVERRIDES -u MFLAGS -u PREFIX -u DESTDIR GO=$(GO) dpkg-buildpackage -d -us -uc --build=binary
	@mv $(DIST)/source/*.deb $(DIST)/ && rm -rf $(DIST)/source && ls $(DIST)/*.deb

# What the package has installed is dpkg's to replace and to remove.
unpackaged:
	@if [ -z "$(DESTDIR)" ] && dpkg-query --search $(bindir)/cocker >/dev/null 2>&1; then \
		echo "$(bindir)/cocker belongs to the Debian package cocker: remove that first (apt-get remove cocker)" >&2; exit 1; fi

# Under sudo Go is often not in PATH: then what was built before is installed.
install: unpackaged $(if $(shell command -v $(GO)),build) ## install below DESTDIR and PREFIX
	install -d $(bindir) $(libexecdir) $(unitdir) $(generatordir) $(DESTDIR)/etc/cocker/containers
	install -m 755 bin/cocker $(bindir)/
	install -m 755 bin/cocker-launch bin/cocker-init bin/cocker-dns $(libexecdir)/
	install -m 755 bin/cocker-generator $(generatordir)/
	$(if $(UNITS),install -m 644 $(UNITS) $(unitdir)/)
	install -D -m 644 -t $(presetdir) units/system-preset/*.preset
	install -D -m 644 -t $(tmpfilesdir) units/tmpfiles.d/*.conf
	install -d $(unitdir)/nftables.service.wants
	ln -sf ../cocker-network-rules.service $(unitdir)/nftables.service.wants/cocker-network-rules.service
	install -D -m 644 -t $(networkdir) units/network/*.network
	install -D -m 644 -t $(unitdir)/lxcfs.service.d units/lxcfs.service.d/10-cocker.conf
	install -D -m 644 -t $(nmconfdir) units/NetworkManager/*.conf
	install -D -m 644 -t $(firewalldir) units/firewalld/*.xml
	install -D -m 644 internal/seccomp/default.json $(DESTDIR)$(PREFIX)/share/cocker/seccomp.json
	@set -e; for c in $(completions); do \
		file=$(DESTDIR)$(PREFIX)/share/$${c#*:}; \
		install -d "$$(dirname "$$file")"; \
		bin/cocker completion "$${c%%:*}" >"$$file.new"; chmod 644 "$$file.new"; mv "$$file.new" "$$file"; \
	done
	@set -e; for page in $(MANPAGES); do \
		install -D -m 644 -t $(mandir)/man$${page##*.} "$$page"; \
	done

uninstall: unpackaged ## remove what install installed
	rm -f $(bindir)/cocker $(generatordir)/cocker-generator
	rm -f $(foreach u,$(notdir $(UNITS)),$(unitdir)/$(u)) $(presetdir)/80-cocker.preset $(tmpfilesdir)/cocker.conf
	rm -f $(unitdir)/nftables.service.wants/cocker-network-rules.service
	rm -f $(unitdir)/lxcfs.service.d/10-cocker.conf
	rm -f $(networkdir)/00-cocker.network $(nmconfdir)/10-cocker.conf $(firewalldir)/cocker.xml
	rm -f $(foreach c,$(completions),$(DESTDIR)$(PREFIX)/share/$(lastword $(subst :, ,$(c))))
	rm -f $(foreach m,$(notdir $(MANPAGES)),$(mandir)/man$(patsubst .%,%,$(suffix $(m)))/$(m))
	rm -rf $(libexecdir) $(DESTDIR)$(PREFIX)/share/cocker

clean: ## remove what build made and the cached test roots
	rm -rf --one-file-system bin dist .cache
