# Everything runs in a virtual environment of its own, made on first use. Only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Most tests wait for processes: several at once are faster even on two cores. WORKERS=0 runs one by one.
WORKERS ?= 3
INSTALL := pyproject.toml .ci/requirements/install.py .ci/requirements/build.txt .ci/requirements/installer.txt
# For every Python and system at once, with hashes; no index is named.
LOCK := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-annotate
LOCKED := $(LOCK) --constraints .ci/requirements/dev.txt
LOCK += $(UPGRADE)
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test model conformance e2e peers bench lint fmt manifests versions lock clean

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.sandbox ## Run the operator and the sample objects on the embedded control plane
	@echo "==> the sandbox, the operator and the samples, until all are Ready"
	$(BIN)/etl-operator sandbox --until-ready --timeout 600

test: lint ## Check style, types and layers, then run every test
	@echo "==> tests, $(WORKERS) at a time (5 of 5); they take ten minutes on two cores"
	$(PYTEST)

model: $(VENV)/.dev ## 10 000 histories of the router's consensus engine in virtual time (HISTORIES=, minutes)
	$(BIN)/python -m tests.node.model --histories $(or $(HISTORIES),10000)

conformance: $(VENV)/.dev ## The sandbox's API server against what a real one answers (CLUSTER=real asks a real one)
	$(PYTEST) e2e/conformance --cluster $(or $(CLUSTER),sandbox)

e2e: $(VENV)/.dev ## The end-to-end suite on a real kube-apiserver (KUBEBUILDER_ASSETS, or built with Go)
	$(BIN)/python -m e2e.realserver
	$(PYTEST) e2e --cluster real

peers: $(VENV)/.dev ## Other projects' own suites on the sandbox's API server; needs Go (CLUSTER=real asks a real one)
	$(BIN)/python -m e2e.peers --cluster $(or $(CLUSTER),sandbox)

lint: $(VENV)/.dev ## ruff, mypy --strict, import-linter
	@echo "==> style: ruff (1 and 2 of 5)"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "==> types: mypy --strict (3 of 5); the first time takes about a minute"
	$(BIN)/mypy
	@echo "==> layers: import-linter (4 of 5)"
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## Measure the runtime against kopf, controller-runtime and kube-rs; BENCH=--quick is shorter
	$(BIN)/python -m benchmarks $(BENCH)
	$(BIN)/python -m benchmarks.servers

fmt: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

manifests: $(VENV)/.dev ## Regenerate the CRDs, the field tables of the docs and the gRPC code from their sources
	$(BIN)/etl-operator crds --output-dir config/crd/bases
	$(BIN)/etl-operator crds --output-dir helm/etl-operator/crds
	$(BIN)/python docs/generate.py
	$(BIN)/python protos/generate.py

versions: $(VENV)/.dev ## The unit tests at the lowest and the newest versions, on Python 3.11 and the newest
	.ci/versions /dev/stdout

clean: ## Remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .venv-versions

lock: $(VENV)/.dev ## Bring .ci/requirements/ in line with pyproject.toml; UPGRADE=--upgrade takes the newest versions
	@# The first has everything; the others are parts of it, with the same versions.
	$(LOCK) --all-extras --group build --group installer pyproject.toml --output-file .ci/requirements/dev.txt
	$(LOCKED) --extra sandbox pyproject.toml --output-file .ci/requirements/sandbox.txt
	$(LOCKED) --extra tracing pyproject.toml --output-file .ci/requirements/operator.txt
	$(LOCKED) --group router-image --output-file .ci/requirements/router.txt
	$(LOCKED) --group build --output-file .ci/requirements/build.txt
	$(LOCKED) --group installer --output-file .ci/requirements/installer.txt

$(VENV)/bin/python:
	@echo "==> making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "etl-operator needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@# Half an environment, such as one without pip, would pass for a whole one the next time.
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.sandbox: .ci/requirements/sandbox.txt $(INSTALL) | $(VENV)/bin/python
	@$(BIN)/python .ci/requirements/install.py $(VENV) sandbox
	@touch $@

$(VENV)/.dev: .ci/requirements/dev.txt $(INSTALL) | $(VENV)/bin/python
	@$(BIN)/python .ci/requirements/install.py $(VENV) dev
	@touch $@ $(VENV)/.sandbox
