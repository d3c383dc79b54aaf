# Targets for people; `make` lists them. Outputs go to out/.
export CGO_ENABLED := 0
# The same for programs and tests: packages are compiled once, and no binary knows where it was made.
export GOFLAGS := -trimpath
FUZZTIME := 60s
AREAS := migrate bt n2n plan go
PROGRAMS := ./sonic-vs ./nsctl ./syncd-plugin ./resource-sync ./mig-agent ./mig-agent/mig-tar ./bt-manager ./n2n-supernode ./n2n-edge ./scheduler ./examples/kms ./examples/ballast
# Packages whose tests raise switches or containers: one after the other.
E2E := /(sonic-vs|mig-agent/(address|engine|helper|orders))(/|$$)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what a fresh Debian 12 with Go lacks
	@build/setup.sh

build: setup ## build all programs into out/bin
	@mkdir -p out/bin
	go build -o out/bin/ $(PROGRAMS)

generate: setup ## regenerate generated Go
	build/generate.sh

check: setup ## formatting and vet
	@bad=$$(gofmt -l $$(git ls-files '*.go')) && test -z "$$bad" || { echo "not formatted: $$bad"; exit 1; }
	go vet ./...

test: build check ## everyday tests, on real Redis, Docker and CRIU
	go test $$(go list ./... | grep -vE '$(E2E)')
	go test -p 1 -timeout 25m $$(go list ./... | grep -E '$(E2E)')

test-full: test ## everyday tests, then all cases of the scenarios, the kill matrix, a storm, and every fuzz target for 10 s, every proof of an optimum
	$(MAKE) --no-print-directory fuzz FUZZTIME=10s
	go test -timeout 15m -v -run 'TestKillMatrix|TestStorm' ./bt-manager/ -full
	go test -timeout 20m ./sonic-vs/scenario/ -full
	go test -timeout 40m -run TestFrozenOptima ./scheduler/experiment/ -full

fuzz: setup ## each fuzz target for FUZZTIME
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

traces: setup ## compare behaviour trees with what BehaviorTree.CPP 4.10 did: TRACES=file.jsonl, or those in testdata
	BT_TRACES=$(TRACES) go test -count=1 -v -run '^TestTraces$$' ./bt-manager/bt

demo: build ## overload a switch and look on as the behaviour tree moves its service, live and cold; writes out/demo
	out/bin/sonic-vs demo story

demo-move: build ## move a key service between switches by command under load, live and cold; writes out/demo-move
	out/bin/sonic-vs demo move

chaos: build ## 300 moves, each with something broken at one of its steps; writes out/chaos.jsonl
	out/bin/sonic-vs chaos --moves 300

experiments: build ## run the experiments of all papers in full; writes out/experiments
	@for e in relay scn chain labels balance; do out/bin/scheduler experiment $$e --paper || exit; done

bench: setup ## measure one AREA (migrate: moves; bt: behaviour trees; n2n: the overlay beside ntop's; plan: decisions beside gonum; go: Go benchmarks) or all; figures go to out/bench.jsonl
	@for a in $(or $(AREA),$(AREAS)); do case " $(AREAS) " in *" $$a "*) ;; \
		*) echo "AREA=$$a: no such area; there are: $(AREAS)" >&2; exit 2;; esac; done
	@for a in $(or $(AREA),$(AREAS)); do $(MAKE) --no-print-directory bench-$$a || exit; done

bench-migrate: build
	out/bin/sonic-vs bench migrate

bench-bt: build
	out/bin/sonic-vs bench bt

bench-n2n: build
	out/bin/sonic-vs bench n2n

bench-plan: build
	out/bin/sonic-vs bench plan

bench-go: setup
	go test -run '^$$' -bench . -benchmem ./...

clean-testbed: ## take down every virtual switch on this machine
	go run ./sonic-vs down --all

.PHONY: help setup build generate check test test-full fuzz traces demo demo-move chaos experiments bench bench-migrate bench-bt bench-n2n bench-plan bench-go clean-testbed
