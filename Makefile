# All targets use a virtual environment, which is created on first use. They need only Python >= 3.11 and make.
#   make help    lists the targets and their variables
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Most tests wait for processes: parallel workers are faster even on two cores.
export WORKERS ?= 3
INSTALL := pyproject.toml .ci/requirements/install.py .ci/requirements/build.txt .ci/requirements/installer.txt
# Locks for all Python versions and systems, with hashes and without the address of an index.
LOCK := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-annotate
LOCKED := $(LOCK) --constraints .ci/requirements/dev.txt
LOCK += $(UPGRADE)
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test coverage model kill conformance e2e peers bench lint fmt hooks manifests versions lock clean

help: ## Show this list
	@echo "usage: make TARGET [VARIABLE=VALUE ...]"
	@echo; echo "targets:"
	@sed -nE 's/^([a-z0-9-]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16
	@echo; echo "variables:"
	@sed -nE 's/^#: ([A-Z]+) +/  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

#: PART      test, coverage: only the tests of this part, such as queue, sandbox or "queue watch"; an unknown name lists all
#: WORKERS   test, coverage, conformance, e2e: number of tests that run in parallel (3); 0 runs all in one process
#: CLUSTER   conformance, peers: sandbox (default) or real, a kube-apiserver; conformance also kind or the path of a kubeconfig
#: HISTORIES model: number of histories (10000)
#: RUNS      kill: number of runs (200)
#: BENCH     bench: options of `python -m benchmarks`, such as --quick
#: UPGRADE   lock: --upgrade selects the newest versions
#: PYTHON    the Python that creates the virtual environment (python3); 3.11 or newer
#: VENV      directory of the virtual environment (.venv)

demo: $(VENV)/.sandbox ## Run the operator, the samples and their services on the embedded control plane
	@echo "==> running the sandbox, the operator and the samples until 10 000 records have arrived"
	$(BIN)/etl-operator sandbox --until-ready --timeout 600

test: $(if $(PART),$(VENV)/.dev,lint) ## Check style, types and layers, then run all tests; with PART, run only the tests of one part
	@echo "==> tests$(if $(PART), of $(PART),, 5 of 5), $(WORKERS) at a time$(if $(PART),,; they take ten minutes on two cores)"
	$(BIN)/python -m tests.parts $(PART)

coverage: $(VENV)/.dev ## Run the tests and print the coverage of each package, including subprocesses; PART as for test
	$(BIN)/python -m tests.parts --coverage $(PART)

model: $(VENV)/.dev ## Run random histories of the router's consensus engine in virtual time (two minutes; HISTORIES)
	$(BIN)/python -m tests.node.model --histories $(or $(HISTORIES),10000)

kill: $(VENV)/.dev ## Kill nodes, workers and services at random points while records flow, many times (RUNS)
	$(BIN)/python -m tests.node.killing --runs $(or $(RUNS),200)

conformance: $(VENV)/.dev ## Compare the sandbox's API server with a real one (CLUSTER)
	$(PYTEST) e2e/conformance --cluster $(or $(CLUSTER),sandbox)

e2e: $(VENV)/.dev ## Run the end-to-end suite on a real kube-apiserver, from KUBEBUILDER_ASSETS or built with Go
	$(BIN)/python -m e2e.realserver
	@# They need etcd, which is one of the programs of a real control plane.
	$(PYTEST) tests/node/consensus/test_engines.py tests/node/consensus/test_etcd.py tests/node/test_engine_processes.py
	$(PYTEST) e2e --cluster real

peers: $(VENV)/.dev ## Run test suites of other projects on the sandbox's API server; needs Go (CLUSTER)
	$(BIN)/python -m e2e.peers --cluster $(or $(CLUSTER),sandbox)

lint: $(VENV)/.dev ## Check style, types and layers: ruff, mypy --strict, import-linter
	@echo "==> style: ruff (1 and 2 of 5)"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "==> types: mypy --strict (3 of 5); the first time takes about a minute"
	$(BIN)/mypy
	@echo "==> layers: import-linter (4 of 5)"
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## Run the benchmarks of the runtime, the sandbox, the data plane and the router's engines (BENCH)
	$(BIN)/python -m benchmarks $(BENCH)
	$(BIN)/python -m benchmarks.servers
	$(BIN)/python -m benchmarks.dataplane $(filter --quick --check,$(BENCH))
	$(BIN)/python -m benchmarks.engines $(filter --quick --check,$(BENCH))

fmt: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(VENV)/.dev ## Install the git hooks of .pre-commit-config.yaml: check style before a commit, types and layers before a push
	$(BIN)/pre-commit install

manifests: $(VENV)/.dev ## Regenerate the CRDs, the field tables of the docs and the gRPC code from their sources
	$(BIN)/etl-operator crds --output-dir config/crd/bases
	$(BIN)/etl-operator crds --output-dir helm/etl-operator/crds
	$(BIN)/python docs/generate.py
	$(BIN)/python protos/generate.py

versions: $(VENV)/.dev ## Run the unit tests at the lowest and the newest versions of the dependencies, on Python 3.11 and the newest
	.ci/versions /dev/stdout

clean: ## Remove the files that the other targets created
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .venv-versions build/coverage

lock: $(VENV)/.dev ## Update .ci/requirements/ from pyproject.toml (UPGRADE)
	@# The first file has all packages; the others have subsets with the same versions.
	$(LOCK) --all-extras --group build --group installer pyproject.toml --output-file .ci/requirements/dev.txt
	$(LOCKED) --extra sandbox pyproject.toml --output-file .ci/requirements/sandbox.txt
	$(LOCKED) --extra backup --extra tracing pyproject.toml --output-file .ci/requirements/operator.txt
	$(LOCKED) --group router-image --output-file .ci/requirements/router.txt
	$(LOCKED) --group service-image --output-file .ci/requirements/service.txt
	$(LOCKED) --group build --output-file .ci/requirements/build.txt
	$(LOCKED) --group installer --output-file .ci/requirements/installer.txt

$(VENV)/bin/python:
	@echo "==> creating a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "etl-operator needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@# An incomplete environment, such as one without pip, would be used as a complete one in the next run.
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.sandbox: .ci/requirements/sandbox.txt $(INSTALL) | $(VENV)/bin/python
	@$(BIN)/python .ci/requirements/install.py $(VENV) sandbox
	@touch $@

$(VENV)/.dev: .ci/requirements/dev.txt $(INSTALL) | $(VENV)/bin/python
	@$(BIN)/python .ci/requirements/install.py $(VENV) dev
	@touch $@ $(VENV)/.sandbox
