"""A blueprint: configurations alone, parts that join, ids of decoders behind the LLM's own."""

from __future__ import annotations

import pytest

from tests import toys
from tests.strokes import GRID, drawing  # noqa: F401 (a fixture)
from tinyllava_kit import KitError
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.assembly.blueprint import read_blueprint


def test_every_part_is_a_component_with_what_it_is_made_of(blueprint):
    config = blueprint.config
    tower, connector = config.component("tower", "image"), config.component("connector", "image")
    assert (tower.name, tower.checkpoint, tower.distribution) == ("clip", str(toys.CLIP), "tinyllava-kit-vision-clip")
    assert connector.config == {"in_dim": 32, "out_dim": 24, "grid": [2, 2]}
    assert config.text_config.hidden_size == 24
    assert (config.component("llm").name, config.component("template").name) == ("llama", "auto")
    assert config.component("modality", "image").options["aspect"]
    assert blueprint.preprocessors.keys() == {"image"}
    assert config.decoders == config.token_ranges == {}


def test_no_weights_are_read(tmp_path, parts):
    llm = toys.save_llama(tmp_path / "llm")
    (llm / "model.safetensors").write_bytes(b"no weights")
    assert read_blueprint(toys.picture_assembly(llm)).config.text_config.hidden_size == 24


@pytest.mark.usefixtures("drawing")
def test_ids_of_a_decoder_lie_behind_those_of_the_llm_and_its_tokenizer(parts):
    how = {"decoders": ["drawing=strokes"], "settings": [f"decoder.drawing.grid={GRID}"]}
    config = read_blueprint(Assembly.from_flags(llm=f"llama:{parts.llm.checkpoint}", **how)).config
    assert config.token_ranges["drawing"][0] == ["begin", 320, 1]
    names = [name for name, _, _ in config.token_ranges["drawing"]]
    assert names == ["begin", "end", "move", "draw", "x", "y"]


@pytest.mark.parametrize(
    ("connector", "options", "message"),
    [
        ("pixel_shuffle_mlp", {"connector.image.factor": "3"}, r"connectors\.image: "),
        ("mlp2x_gelu", {"tower.image.layer": "7"}, "layer"),
        ("linear", {"connector.image.depth": "7"}, r"connectors\.image: .*no option 'depth'"),
    ],
)
def test_parts_that_do_not_join_are_refused(parts, connector, options, message):
    with pytest.raises(KitError, match=message):
        read_blueprint(toys.picture_assembly(parts.llm.checkpoint, connector, **options))
