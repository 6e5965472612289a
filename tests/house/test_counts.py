"""How often one command finds plugins and opens files: what is read once is handed on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests import toys
from tests.processes import run
from tinyllava_kit import Assembly, assemble
from tinyllava_kit.assembly.saved_model import SavedModel

# Counts, of one process: files that Python opens in a folder (an opener's own call has no mode), and discoveries.
COUNTING = """
import json, os, sys
from collections import Counter
counts, folder = Counter(), sys.argv[1]
def count(event, arguments):
    if event == "open" and arguments[1] is not None and isinstance(arguments[0], (str, os.PathLike)):
        place, name = os.path.split(os.fspath(arguments[0]))
        counts[name] += place == folder
sys.addaudithook(count)
from tinyllava_kit.plugin import discovery
find = discovery.find_plugins
discovery.find_plugins = lambda *names: (counts.update(["discovery"]), find(*names))[1]
from transformers import AutoTokenizer
read = AutoTokenizer.from_pretrained
AutoTokenizer.from_pretrained = lambda *names, **how: (counts.update(["tokenizer"]), read(*names, **how))[1]
from tinyllava_kit.processing.processor import TinyLlavaProcessor
init = TinyLlavaProcessor.__init__
TinyLlavaProcessor.__init__ = lambda *parts: (counts.update(["processor"]), init(*parts))[1]
from tinyllava_kit_cli.app import main
try:
    main(sys.argv[2:])
finally:
    print(json.dumps(counts), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.save_picture_model(tmp_path_factory.mktemp("toy"))


@pytest.mark.slow
def test_a_question_about_a_picture_reads_everything_once(model: Path) -> None:
    toys.save_pictures(model.parent, 1)
    words = ["ask", model, "What is it?", "--image", model.parent / "0.png", "--max-new-tokens", 2]
    done = run(["-c", COUNTING, str(model), *map(str, words)])
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stderr.splitlines()[-1])
    assert counts["discovery"] == counts["processor"] == counts["tokenizer"] == 1
    assert counts["config.json"] <= 2
    assert counts["processor_config.json"] == counts["generation_config.json"] == 1


def test_a_saved_model_that_gives_every_part_is_opened_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    init = SavedModel.__init__

    def counted(self: SavedModel, directory: str) -> None:
        opened[directory] += 1
        init(self, directory)

    monkeypatch.setattr(SavedModel, "__init__", counted)
    assembly = Assembly.from_flags(
        llm=f"llama:{model}", towers=[f"image=clip:{model}"], connectors=[f"image=mlp2x_gelu:{model}"]
    )
    assemble(assembly)
    assert opened == {str(model): 1}
