# ferric: `make demo` deploys two virtual machines, `make test` runs all tests.
# `make help` lists the rest.

GO        ?= go
BIN       := bin
# What `make` builds and keeps lies here.
CACHE     ?= .cache
OS        ?= small
CLEAN     ?= metadata
KEEP      ?=
FUZZTIME  ?= 2m
# Of `make scale`; with others nothing is written to docs/.
SCALE_NODES ?= 10000
SCALE_TIME  ?= 10m
# Of the Ironic from PyPI in `make test-ironic`; empty is the newest.
IRONIC_VERSION ?=
IRONIC    := $(CACHE)/ironic/$(or $(IRONIC_VERSION),newest)
VERSION   := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X main.version=$(VERSION)
# Tests of loop devices and of network devices need root; a test binary that has them runs through sudo.
AS_ROOT   := $(if $(filter 0,$(shell id -u)),,-exec "sudo -E")
ROOTED    := ./images/... ./hwmanager/... ./ramdisk/uinit/... ./integration/bench/... ./integration/osimage/... ./integration/matrix/...
# Regular expression of the names of cells for `make matrix`, as in nvme-4096-uefi-partition.
CELL      ?= .

# Ordinary users lack these, where mkfs and others are.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help fuzz deps test-deps test-full test-ironic test-ipa test-clients test-keystone test-tempest test-twin matrix faults go-version build ramdisk demo test lint bench scale generate clean

help:
	@echo "make demo [OS=small|debian] [CLEAN=metadata|full] [KEEP=1]"
	@echo "          boot two bare virtual machines into an operating system"
	@echo "make test        run all tests: unit, loop device, process, VM"
	@echo "make test-full   deploy all kinds of machines and images, in virtual machines"
	@echo "make matrix [CELL=regexp]"
	@echo "                 deploy and boot machines of all kinds of disks, sector sizes, firmware and images"
	@echo "make test-ironic [IRONIC_VERSION=29.0.6]"
	@echo "                 have real Ironics, Debian's and one from PyPI, drive the agent"
	@echo "make test-ipa    have the reference agent, ironic-python-agent, work under a conductor"
	@echo "make test-keystone"
	@echo "                 have users of a real Keystone, Debian's, call a conductor"
	@echo "make test-tempest"
	@echo "                 run tempest's tests of Ironic's API as users of that Keystone"
	@echo "make test-clients"
	@echo "                 run clients and test suites that others wrote against a conductor"
	@echo "make test-twin [IRONIC_VERSION=29.0.6]"
	@echo "                 send the same requests to a conductor and to a real Ironic, and compare the answers"
	@echo "make faults      run every test of what can go wrong, and the whole crash matrix"
	@echo "make build       build bin/ferric and bin/ferric-agent"
	@echo "make ramdisk     build kernel and initramfs of the agent in $(CACHE)/ramdisk"
	@echo "make deps        install the distribution's packages that the demo needs"
	@echo "make lint        gofmt, go vet, go.mod"
	@echo "make fuzz [FUZZTIME=2m]  run every fuzz target for that time"
	@echo "make bench       measure against other tools"
	@echo "make scale [SCALE_NODES=10000] [SCALE_TIME=10m]"
	@echo "                 hold a conductor under the load of 10000 nodes, write docs/scale.md and its chart"
	@echo "make generate    render the pages in docs/ from their tables"

go-version:
	@integration/setup/go-version.sh "$(GO)"

deps: go-version
	@integration/setup/packages.sh demo $(if $(filter debian,$(OS)),debian)

test-deps: go-version
	@integration/setup/packages.sh demo test

build: go-version
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/ferric ./cmd/ferric
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/ferric-agent ./cmd/ferric-agent

ramdisk: deps build
	$(BIN)/ferric ramdisk build --profile virtual --output $(CACHE)/ramdisk

demo: ramdisk
	$(BIN)/ferric lab image --os $(OS) --cache $(CACHE)/images
	$(BIN)/ferric lab demo --os $(OS) --clean $(CLEAN) --ramdisk $(CACHE)/ramdisk --cache $(CACHE)/images $(if $(KEEP),--keep)

# Tests of loop devices of two packages at once would find each other's; of the
# others two run beside each other, with a virtual machine each.
test: test-deps lint ramdisk
	FERRIC_RAMDISK=$(abspath $(CACHE)/ramdisk) FERRIC_BIN=$(abspath $(BIN)) $(GO) test -p 1 -timeout 20m $(AS_ROOT) $(ROOTED)
	FERRIC_MACHINES=2 FERRIC_RAMDISK=$(abspath $(CACHE)/ramdisk) FERRIC_BIN=$(abspath $(BIN)) FERRIC_IMAGES=$(abspath $(CACHE)/images) \
		$(GO) test -p 2 -timeout 20m $$($(GO) list ./... | grep -v -E '^ferric/(images|hwmanager|ramdisk/uinit|integration/(bench|osimage|matrix))')

# All kinds of machines and images; takes about a quarter of an hour more.
test-full: test-deps ramdisk
	FERRIC_FULL=1 $(GO) test -v -count=1 -p 1 -timeout 60m $(AS_ROOT) ./images ./hwmanager/generic ./integration/osimage
	FERRIC_FULL=1 FERRIC_RAMDISK=$(abspath $(CACHE)/ramdisk) FERRIC_BIN=$(abspath $(BIN)) FERRIC_IMAGES=$(abspath $(CACHE)/images) \
		$(GO) test -v -count=1 -p 1 -timeout 60m ./conductor/netboot ./integration/stories ./integration/conversation

# The whole table takes about half an hour; it is printed in the end. Two machines run at a time.
matrix: test-deps ramdisk
	FERRIC_MATRIX='$(CELL)' FERRIC_RAMDISK=$(abspath $(CACHE)/ramdisk) FERRIC_BIN=$(abspath $(BIN)) \
		$(GO) test -v -count=1 -parallel 2 -timeout 3h $(AS_ROOT) ./integration/matrix

# About twenty minutes for each Ironic.
test-ironic: test-deps ramdisk
	@integration/setup/ironic.sh $(IRONIC) $(IRONIC_VERSION)
	FERRIC_IRONIC=1 FERRIC_IRONIC_PYTHONS="/usr/bin/python3 $(abspath $(IRONIC))/bin/python" \
		FERRIC_RAMDISK=$(abspath $(CACHE)/ramdisk) FERRIC_IMAGES=$(abspath $(CACHE)/images) \
		$(GO) test -v -count=1 -timeout 90m -run '^TestIronic$$' ./integration/compat

# About two minutes. The agent runs as root, in namespaces in which it reaches one loop device only.
test-ipa: test-deps build
	@integration/setup/ipa.sh $(CACHE)/ipa
	$(GO) test -c -o $(BIN)/process.test ./integration/process
	cd integration/process && $(if $(AS_ROOT),sudo) env CI=true FERRIC_BIN=$(abspath $(BIN)) FERRIC_IPA=$(abspath $(CACHE))/ipa/bin/ironic-python-agent \
		unshare --net --pid --fork --kill-child --mount-proc sh -c 'ip link set lo up && exec $(abspath $(BIN))/process.test -test.v -test.run "^TestReferenceAgent$$"'

# About a minute.
test-keystone: test-deps build
	@integration/setup/keystone.sh
	FERRIC_KEYSTONE=1 FERRIC_BIN=$(abspath $(BIN)) $(GO) test -v -count=1 -timeout 15m ./integration/keystone

# About ten minutes, most of them Keystone's.
test-tempest: test-deps build
	@integration/setup/keystone.sh
	@GO="$(GO)" integration/setup/clients.sh $(CACHE)/clients
	FERRIC_TEMPEST=$(abspath $(CACHE)/clients)/python/bin/python FERRIC_BIN=$(abspath $(BIN)) \
		$(GO) test -v -count=1 -timeout 40m -run '^TestTempest$$' ./integration/keystone

# Clients and suites of others, from PyPI and the Go module proxy, against `ferric conductor`.
test-clients: test-deps build
	@GO="$(GO)" integration/setup/clients.sh $(CACHE)/clients
	FERRIC_CLIENTS=$(abspath $(CACHE)/clients) FERRIC_BIN=$(abspath $(BIN)) $(GO) test -v -count=1 -timeout 60m ./integration/clients

# The Ironic is one from PyPI; about ten minutes. FERRIC_TWIN_SCENES chooses scenes by a regular expression.
test-twin: test-deps build
	@integration/setup/ironic.sh $(IRONIC) $(IRONIC_VERSION)
	FERRIC_TWIN=$(abspath $(IRONIC))/bin/python FERRIC_BIN=$(abspath $(BIN)) $(GO) test -v -count=1 -timeout 60m ./integration/twin

# Each row of docs/failure-modes.md; the counts are printed.
faults: test-deps ramdisk
	FERRIC_FAULTS=1 FERRIC_BIN=$(abspath $(BIN)) FERRIC_RAMDISK=$(abspath $(CACHE)/ramdisk) \
		$(GO) test -v -count=1 -p 1 -timeout 90m ./integration/faults ./integration/crash
	FERRIC_FAULTS=1 FERRIC_BIN=$(abspath $(BIN)) $(GO) test -v -count=1 -timeout 60m -parallel 4 -run 'CrashAround' ./integration/process

lint: go-version
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these files" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) mod verify

fuzz: go-version
	@integration/setup/fuzz.sh $(FUZZTIME)

bench: test-deps
	$(GO) run $(AS_ROOT) ./integration/bench
	@integration/setup/packages.sh ironic
	$(GO) run ./integration/bench/api

# About eighteen minutes, on a machine that does nothing else.
scale: go-version
	$(GO) run ./integration/scale -nodes $(SCALE_NODES) -time $(SCALE_TIME) $(if $(filter 10000/10m,$(SCALE_NODES)/$(SCALE_TIME)),-out docs)

generate: go-version
	$(GO) test ./conductor ./conductor/provision ./conductor/restapi ./agent/config ./integration/faults -run Page -update

clean:
	rm -rf $(BIN) $(CACHE)
