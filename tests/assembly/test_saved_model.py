"""Parts from a saved model of this kit: the same weights and counts, and every misfit refused."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.assembly.blueprint import read_blueprint
from tinyllava_kit.assembly.building import assemble
from tinyllava_kit.assembly.part_costs import report_parts


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("donor")
    model, processor = toys.picture_model(folder / "llm", tied=request.param)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)  # no longer what its checkpoints hold
    for part in (model, processor):
        part.save_pretrained(folder / "model")
    return folder, model, processor


def flags(folder, *, llm="model", tower="model", connector=":model", name="mlp2x_gelu", settings=()):
    return Assembly.from_flags(
        llm=f"llama:{folder / llm}",
        towers=[f"image=clip:{folder / tower if tower else toys.CLIP}"],
        connectors=[f"image={name}{':' + str(folder / connector[1:]) if connector else ''}"],
        settings=settings,
    )


def test_every_part_can_come_from_a_saved_model(saved):
    folder, model, processor = saved
    taken, its_processor = assemble(flags(folder))
    state = model.state_dict()
    assert taken.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in taken.state_dict().items())
    toys.save_pictures(folder / "pictures")
    asked = [{"role": "user", "content": [{"type": "image", "image": str(folder / "pictures/0.png")}, "What?"]}]
    batch, expected = its_processor(asked), processor(asked)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    with torch.no_grad():
        assert torch.equal(taken(**batch).logits, model.eval()(**expected).logits)


def test_a_saved_models_tokenizer_is_read_in_silence(saved, caplog, monkeypatch):
    """Where nothing has told transformers of the kit's models yet, as in a command that only assembles."""
    folder, _, _ = saved
    monkeypatch.delitem(CONFIG_MAPPING._extra_content, "tinyllava", raising=False)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    assemble(flags(folder))
    assert [record.getMessage() for record in caplog.records] == []


def test_parts_are_taken_one_by_one(saved):
    folder, model, _ = saved
    taken, _ = assemble(flags(folder, llm="llm", tower="", connector=":model"))
    same = {key for key, value in taken.state_dict().items() if torch.equal(value, model.state_dict()[key])}
    changed = {key.split(".")[0] for key in taken.state_dict().keys() - same}
    assert "connectors" not in changed
    assert {"language_model", "towers"} <= changed


def test_a_model_of_taken_parts_is_saved_and_loaded_again(saved, tmp_path):
    from tinyllava_kit.checkpoints.loading import load_pretrained

    folder, model, _ = saved
    for part in assemble(flags(folder)):
        part.save_pretrained(tmp_path / "again")
    again, _ = load_pretrained(tmp_path / "again")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())


def licences(assembly):
    return {cost.part: cost.component.licence for cost in report_parts(read_blueprint(assembly))}


@pytest.fixture
def licensed(tmp_path):
    """Models of ``llm/`` (with a card), of the parts of ``first/`` and so on, each made from the one before."""
    toys.save_llama(tmp_path / "llm")
    (tmp_path / "llm/README.md").write_text("---\nlicense: apache-2.0\n---\nlicense: none of this\n")
    shutil.copytree(toys.CLIP, tmp_path / "clip")
    (tmp_path / "clip/README.md").write_text("---\ntags: [a]\nlicense: mit\n---\n")
    made = assemble(flags(tmp_path, llm="llm", tower="clip", connector=""))
    for name in ("first", "second"):
        for part in made:
            part.save_pretrained(tmp_path / name)
        made = assemble(flags(tmp_path, llm=name, tower=name, connector=f":{name}"))
    for name in ("llm", "clip"):
        shutil.rmtree(tmp_path / name)
    return tmp_path


def test_each_parts_licence_goes_with_it(licensed):
    for name in ("first", "second"):
        assert licences(flags(licensed, llm=name, tower=name, connector=f":{name}")) == {
            "llm": "apache-2.0",
            "tower image": "mit",
            "connector image": "",
        }
    config = json.loads((licensed / "second/config.json").read_text())
    assert config["llm"]["licence"] == "apache-2.0"
    assert config["towers"]["image"]["licence"] == "mit"
    assert "licence" not in config["connectors"]["image"]


def test_a_directory_that_notes_no_licences_is_read_as_before(licensed):
    from tinyllava_kit.checkpoints.loading import load_pretrained

    file = licensed / "first/config.json"
    config = json.loads(file.read_text())
    for component in (config["llm"], config["towers"]["image"]):
        del component["licence"]
    file.write_text(json.dumps(config))
    model, _ = load_pretrained(licensed / "first")
    assert model.config.component("llm").licence == ""
    every = flags(licensed, llm="first", tower="first", connector=":first")
    assert set(licences(every).values()) == {""}
    (licensed / "first/README.md").write_text("---\nlicense: gpl-3.0\n---\n")
    assert set(licences(every).values()) == {"gpl-3.0"}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": "linear"}, "has 'mlp2x_gelu' as its connector image, not 'linear'"),
        ({"connector": ":llm"}, r"connectors\.image: .*llm' is not a model directory of this kit"),
        ({"settings": ["tower.image.layer=-1"]}, "tower image: options are those of the saved part; leave layer out"),
    ],
)
def test_what_does_not_fit_is_refused_before_weights_are_read(saved, how, message):
    with pytest.raises(KitError, match=message):
        read_blueprint(flags(saved[0], **how))


def test_a_connector_for_other_widths_is_refused(saved, tmp_path):
    folder, _, _ = saved
    toys.save_llama(tmp_path / "wide", hidden=32)
    assembly = Assembly.from_flags(
        llm=f"llama:{tmp_path / 'wide'}",
        towers=[f"image=clip:{toys.CLIP}"],
        connectors=[f"image=mlp2x_gelu:{folder / 'model'}"],
    )
    with pytest.raises(KitError, match=r"connectors\.image: the connector in .* joins .*'out_dim': 24.* needs .*32"):
        read_blueprint(assembly)


def test_a_modality_that_the_model_does_not_have_is_refused(saved):
    assembly = Assembly.from_flags(
        llm=f"llama:{saved[0] / 'model'}",
        towers=[f"audio=wav2vec2:{saved[0] / 'model'}"],
        connectors=["audio=linear"],
    )
    with pytest.raises(KitError, match="is a model without a tower audio"):
        read_blueprint(assembly)
