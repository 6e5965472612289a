"""A model's card as the hub and a reader take it: its head, and the Python and the command that stand in it."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import soundfile
import torch
import transformers
from click.testing import CliRunner
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from tests import toys
from tinyllava_kit import assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.checkpoints.card import card, write_card

IMAGE = ("image=clip:{clip}", "image=linear")
AUDIO = ("audio=wav2vec2:{folder}/encoder", "audio=stack_mlp")
MODELS = {"sees": [IMAGE], "hears": [AUDIO], "both": [IMAGE, AUDIO], "reads": []}
TAGS = {"sees": "image-text-to-text", "hears": "any-to-any", "both": "any-to-any", "reads": "text-generation"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of each kind, a picture and a sound."""
    folder = tmp_path_factory.mktemp("cards")
    toys.save_llama(folder / "llm")
    toys.save_pictures(folder, 1)
    shutil.move(folder / "0.png", folder / "picture.png")
    soundfile.write(folder / "sound.wav", np.sin(np.arange(8000) / 7), 16000)
    torch.manual_seed(0)
    sizes = {"hidden_size": 22, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 29}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 11}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **positions, conv_dim=[13] * 7)).save_pretrained(folder / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(folder / "encoder")
    for name, parts in MODELS.items():
        towers = [tower.format(clip=toys.CLIP, folder=folder) for tower, _ in parts]
        llm = f"llama:{folder / 'llm'}"
        assembly = Assembly.from_flags(llm=llm, towers=towers, connectors=[connector for _, connector in parts])
        for part in assemble(assembly):
            part.save_pretrained(folder / name)
        write_card(folder / name)
    return folder


def block(text, language):
    """The one fenced block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_python_of_a_card_runs_and_answers_as_its_command(place, name, monkeypatch, capsys):
    from tinyllava_kit_cli import app

    monkeypatch.chdir(place)
    text = (place / name / "README.md").read_text()
    code = block(text, "python").replace("max_new_tokens=64", "max_new_tokens=9, do_sample=False")
    exec(compile(code, "card", "exec"), {})
    printed = capsys.readouterr().out.strip()
    command = shlex.split(block(text, "bash").strip().split("\n")[-1])
    assert [word for word in command if word.startswith("-")] == [f"--{each}" for each in asked_of(name)]
    result = CliRunner().invoke(app.cli, [*command[1:], "--max-new-tokens", "9"])
    assert result.exit_code == 0, result.output
    assert printed != ""
    if name == "reads":  # elsewhere the command puts an item on a line of its own
        assert result.stdout.strip() == printed


def asked_of(name):
    return [tower.partition("=")[0] for tower, _ in sorted(MODELS[name], reverse=False)]


@pytest.mark.parametrize("name", MODELS)
def test_the_head_is_one_that_the_hub_takes(place, name):
    data = ModelCard.load(place / name / "README.md").data
    assert data.pipeline_tag == TAGS[name]
    assert data.library_name == "transformers"
    assert data.base_model is None  # all parts are from folders
    auto = re.search(r"from transformers import (\w+)", block((place / name / "README.md").read_text(), "python"))[1]
    assert hasattr(transformers, auto)


def with_origins(place, tmp_path, **checkpoints):
    """The head of the card of a model whose parts came from there."""
    config = json.loads((place / "sees" / "config.json").read_text())
    config["llm"]["checkpoint"] = checkpoints.get("llm", "")
    config["towers"]["image"]["checkpoint"] = checkpoints.get("tower", "")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return ModelCard(card(tmp_path)).data


def test_base_models_are_those_of_the_hub(place, tmp_path):
    data = with_origins(place, tmp_path, tower="open-org/tower.v1", llm="org/llm")
    assert data.base_model == ["open-org/tower.v1", "org/llm"]
    for each in data.base_model:
        validate_repo_id(each)
    assert with_origins(place, tmp_path, tower="same/one", llm="same/one").base_model == ["same/one"]
    for folder in ("llm", "../llm", ".demo/llm", "a/b/c", "~/a", "a/b+c/d", "org/", "with space/a"):
        assert with_origins(place, tmp_path, llm=folder).base_model is None, folder


def test_a_folder_named_like_one_of_the_hub_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toys.save_llama(tmp_path / "models" / "llm")
    for part in assemble(Assembly.from_flags(llm="llama:models/llm", towers=[], connectors=[])):
        part.save_pretrained(tmp_path / "made")
    assert json.loads((tmp_path / "made" / "config.json").read_text())["llm"]["checkpoint"] == "llm"
    assert ModelCard(card(tmp_path / "made")).data.base_model is None


def test_a_modality_of_a_plugin_has_no_tag_and_is_given_as_an_item(place, tmp_path):
    config = json.loads((place / "sees" / "config.json").read_text())
    for group in ("towers", "connectors", "modalities"):
        config[group]["sensor"] = config[group]["image"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = card(tmp_path, name="org/model")
    assert "pipeline_tag" not in text
    assert 'tinyllava ask org/model --image picture.png --item sensor=sensor.file "What is this?"' in text
    assert '    {"type": "sensor", "path": "sensor.file"},\n' in text
    compile(block(text, "python"), "card", "exec")


@pytest.mark.parametrize("name", ["it's", "a b", 'say "x"', "```", "-x", "$(id)", "new\nline"])
def test_a_strange_name_stays_a_name(place, tmp_path, name):
    (tmp_path / "config.json").write_text((place / "sees" / "config.json").read_text())
    text = card(tmp_path, name=name)
    code = block(text, "python")
    seen = []
    exec(code.split("\n")[3].replace("AutoModelForImageTextToText.from_pretrained", "seen"), {"seen": seen_by(seen)})
    assert seen == [name]
    command = shlex.split(block(text, "bash").strip().split("\n")[-1])
    assert command[2] in (name, f"./{name}", name.replace("\n", " "))


def seen_by(names):
    return lambda name, **given: names.append(name)
