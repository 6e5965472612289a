"""``tinyllava assemble``: what is written, what it costs, and every wrong turn in one line with exit code 2."""

from __future__ import annotations

import functools
import json

import pytest
import yaml

from tests import toys
from tests.cli.running import PARTS, in_this_process, refused
from tests.limits import limit_files
from tests.processes import tinyllava

pytestmark = pytest.mark.slow


SMALL_FILES = functools.partial(limit_files, 20_000)


def test_a_dry_run_prints_every_part_and_writes_nothing(assembled, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    before = sorted(assembled.iterdir())
    done = in_this_process("assemble", *PARTS, "--dry-run", capfd=capfd)
    assert done.returncode == 0, done.stderr
    for word in ("llm", "tower image", "connector image", "to load:", "to train the connectors", "to generate"):
        assert word in done.stdout
    assert sorted(assembled.iterdir()) == before


def test_a_yaml_file_makes_the_model_that_the_flags_make(assembled, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    parts = {
        "llm": "llama:llm",
        "towers": {"image": {"name": "clip", "checkpoint": str(toys.CLIP)}},
        "connectors": {"image": "mlp2x_gelu"},
    }
    (assembled / "assembly.yaml").write_text(yaml.safe_dump(parts))
    done = in_this_process("assemble", "assembly.yaml", "-o", "from-yaml", capfd=capfd)
    assert done.returncode == 0, done.stderr
    for file in ("config.json", "model.safetensors", "processor_config.json"):
        assert (assembled / "from-yaml" / file).read_bytes() == (assembled / "model" / file).read_bytes()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--llm", "lama:llm"], "no llm is called 'lama'; did you mean 'llama'?"),
        (["--llm", "llama:nowhere/at/all"], "no checkpoint directory 'nowhere/at/all'"),
        (["--llm", "llama:modle"], "no checkpoint directory 'modle'; did you mean 'model'?"),
        (["--llm", f"llama:{toys.CLIP}"], "is a 'clip' checkpoint; this component takes 'llama'"),
        ([*PARTS[:2], "--tower", "image=clip:llm", *PARTS[4:]], "is a 'llama' checkpoint"),
        ([*PARTS[:4]], "modality 'image' has a tower but no connector"),
        ([*PARTS[:4], "--connector", "image=mlp2x_gellu"], "did you mean 'mlp2x_gelu'?"),
        ([*PARTS[:4], "--connector", "audio=linear", *PARTS[4:]], "no tower reads 'audio'"),
        (
            [*PARTS[:2], "--tower", f"audio=clip:{toys.CLIP}", "--connector", "audio=linear"],
            "reads 'image', not 'audio'",
        ),
        ([*PARTS, "--set", "tower.image.layr=1"], "has no option 'layr'; did you mean 'layer'?"),
        ([*PARTS, "--set", "tower.image.layer=one"], "option 'layer' needs int, got 'one'"),
        ([*PARTS[:4], "--connector", "image=identity"], "identity"),
        (
            [*PARTS[:4], "--connector", "image=pixel_shuffle_mlp", "--set", "connector.image.factor=3"],
            "connectors.image",
        ),
        (["--llm", "llama:llm", "--tower", "image"], "--tower needs MODALITY=NAME"),
    ],
)
def test_what_cannot_be_assembled_is_refused_before_a_weight_is_read(assembled, words, match, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    refused(in_this_process("assemble", *words, "-o", "never", capfd=capfd), match)
    assert not (assembled / "never").exists()


def test_an_output_directory_with_something_in_it_is_left_alone(assembled, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    refused(in_this_process("assemble", *PARTS, "-o", "images", capfd=capfd), "'images' exists and is not empty")


def test_the_costs_as_json_are_those_of_the_table(assembled, monkeypatch, capfd):
    monkeypatch.chdir(assembled)
    table = in_this_process("assemble", *PARTS, "--dry-run", "--dtype", "bfloat16", capfd=capfd).stdout
    costs = json.loads(
        in_this_process("assemble", *PARTS, "--dry-run", "--dtype", "bfloat16", "--json", capfd=capfd).stdout
    )
    assert [part["part"] for part in costs["parts"]] == ["llm", "tower image", "connector image"]
    for part in costs["parts"]:
        assert f"{part['parameters']:,}" in table
        assert part["bytes"] == 2 * part["parameters"]
        assert part["dtype"] == "bfloat16"
    total = sum(part["bytes"] for part in costs["parts"])
    joint = costs["parts"][2]["parameters"]
    assert costs["bytes"]["load"] == total
    assert costs["bytes"]["train_connectors"] == total + 10 * joint  # a gradient of 2 bytes, two states of 4
    assert costs["bytes"]["train_all"] == 6 * total
    assert costs["bytes"]["generate"] > total
    assert f"one sample of {costs['positions']} positions: {costs['bytes']['generate'] / 1e6:,.1f} MB" in table


def test_a_full_disk_leaves_no_half_model(assembled):
    done = tinyllava("assemble", *PARTS, "-o", "full", cwd=assembled, first=SMALL_FILES)
    refused(done, "cannot save")
    assert not (assembled / "full").exists()
    assert not [path for path in assembled.iterdir() if path.name.startswith(".full")]


def test_a_full_disk_leaves_the_old_model_as_it_was(assembled):
    before = {p.name: p.read_bytes() for p in (assembled / "model").iterdir()}
    done = tinyllava("assemble", *PARTS, "-o", "model", "--force", "--seed", "9", cwd=assembled, first=SMALL_FILES)
    refused(done, "cannot save")
    assert {p.name: p.read_bytes() for p in (assembled / "model").iterdir()} == before
