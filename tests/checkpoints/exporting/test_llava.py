"""Export to transformers' Llava: its own classes give our logits, tokens and texts; what cannot be is refused."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from tests import toys
from tests.golden_models import GOLDEN
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.checkpoints.exporting import llava

pytestmark = pytest.mark.slow

CLIP = "tinyllama_clip_mlp2x_gelu"
FITTING = [CLIP, "tinyllama_siglip_mlp2x_gelu", "tinyllama_siglip_mlp2x_gelu_cls_patch"]


def loaded(case):
    model, processor = load_pretrained(GOLDEN / case)
    return model.eval(), processor


@pytest.mark.parametrize("case", FITTING)
def test_transformers_own_class_gives_our_logits_and_our_next_tokens(tmp_path, case):
    model, processor = loaded(case)
    parity = llava.export(model, processor, tmp_path / "out")
    assert parity.difference < 1e-4
    assert parity.same_ids
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    messages = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (40, 30), "red")}, "shape?"]}]
    batch = processor([messages, [{"role": "user", "content": "hello"}]])
    ids = batch["input_ids"].clone()
    ids.view(-1)[batch["plan"].item_positions["image"]] = theirs.config.image_token_id
    with torch.no_grad():
        expected = model(**batch).logits
        found = theirs(ids, batch["items"]["image"]["pixel_values"], batch["attention_mask"]).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[..., : expected.shape[-1]][real], expected[real], atol=1e-4, rtol=0)
    assert not list((tmp_path / "out").glob("*.bin"))


@pytest.mark.parametrize("case", FITTING)
def test_weights_have_the_names_of_published_llavas(tmp_path, case):
    """Other programs know these alone: transformers 5 reads them as well as its own, which it writes."""
    model, processor = loaded(case)
    llava.export(model, processor, tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    tower = [name for name in names if name.startswith("vision_tower.")]
    assert all(name.startswith("vision_tower.vision_model.") for name in tower)
    assert "vision_tower.vision_model.embeddings.patch_embedding.weight" in names
    assert "language_model.model.embed_tokens.weight" in names
    assert "multi_modal_projector.linear_1.weight" in names


def test_shards_are_named_so_too(tmp_path):
    weights = {"vision_tower.embeddings.x": torch.ones(1), "lm_head.weight": torch.zeros(2)}
    save_file(weights, tmp_path / "model-00001-of-00001.safetensors", {"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    llava._name_as_published(tmp_path)
    llava._name_as_published(tmp_path)  # what has the names keeps them
    named = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    with safe_open(tmp_path / "model-00001-of-00001.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(named) == ["lm_head.weight", "vision_tower.vision_model.embeddings.x"]
        assert file.metadata() == {"format": "pt"}


def test_it_comes_back_as_the_same_model(tmp_path):
    model, processor = loaded(CLIP)
    llava.export(model, processor, tmp_path / "out")
    back, _ = load_pretrained(tmp_path / "out")
    for part in ("towers", "connectors"):
        ours, again = (each.get_submodule(part).state_dict() for each in (model, back))
        assert ours.keys() == again.keys()
        assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_the_written_processor_writes_our_text_of_a_conversation(tmp_path):
    """Several turns and a system turn, from messages with parts, as transformers' chat templates take them."""
    model, processor = loaded(CLIP)
    llava.export(model, processor, tmp_path / "out")
    made = AutoProcessor.from_pretrained(tmp_path / "out")
    picture = {"type": "image", "image": Image.new("RGB", (9, 9))}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": [{"type": "text", "text": "what?"}, picture]},
        {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
        {"role": "user", "content": [{"type": "text", "text": "sure?"}]},
    ]
    ours = "".join(span.text for span in processor.template.render(processor.conversation(messages).turns, answer=True))
    assert made.apply_chat_template(messages, add_generation_prompt=True) == ours.replace("\0", "<image>")


def test_the_llms_own_template_is_kept_behind_the_parts(tmp_path):
    model, processor = toys.picture_model(tmp_path / "llm")
    parity = llava.export(model, processor, tmp_path / "out")
    assert parity.difference < 1e-4
    made = AutoProcessor.from_pretrained(tmp_path / "out")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " hi"}]}]
    assert made.apply_chat_template(messages, add_generation_prompt=True) == "<user><image> hi</s><assistant>"


def test_the_placeholder_has_a_row_of_its_own_and_is_never_generated(tmp_path):
    model, processor = loaded(CLIP)
    before = len(processor.tokenizer)
    llava.export(model, processor, tmp_path / "out")
    assert len(processor.tokenizer) == before  # ours is as it was
    theirs = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert theirs.config.image_token_id == model.config.text_config.vocab_size
    assert theirs.generation_config.suppress_tokens == [theirs.config.image_token_id]
    assert theirs.get_output_embeddings().weight[-1].abs().max() == 0
    with torch.no_grad():
        theirs.get_output_embeddings().weight[:-1] = 0
        theirs.get_output_embeddings().weight[-1] = 1000
    ids = theirs.generate(torch.tensor([[1, 5]]), max_new_tokens=3, do_sample=False)
    assert theirs.config.image_token_id not in ids[0].tolist()


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("tinyllama_clip_linear", "its connector is 'linear'; Llava's is mlp2x_gelu"),
        ("tinyllama_clip_qformer", "its connector is 'qformer'; Llava's is mlp2x_gelu"),
        ("tinyllama_dinov2_mlp2x_gelu", "its tower is 'dinov2'; Llava's is CLIP or SigLIP"),
        ("phi_siglip_mlp2x_gelu", "its LLM's head has a bias; Llava's has none"),
    ],
)
def test_what_llava_cannot_say_is_refused_with_the_reason(tmp_path, case, reason):
    model, processor = loaded(case)
    assert reason in llava.faults(model, processor)
    with pytest.raises(KitError, match=f"cannot be a Llava: .*{reason}"):
        llava.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", FITTING)
def test_padded_pictures_are_padded_by_the_written_processor_and_come_back_so(tmp_path, case):
    """transformers' processor of Llava pads on the torchvision side; beside PIL a level or two are rounded."""
    model, processor = loaded(case)
    processor.modalities["image"].aspect = "pad"
    model.config.modalities["image"]["options"] = processor.config.modalities["image"]["options"] = {"aspect": "pad"}
    processor.preprocessors["image"]._processor.image_mean = [0.9, 0.2, 0.4]
    parity = llava.export(model, processor, tmp_path / "out")
    assert parity.difference < 1e-4
    assert parity.same_ids
    assert parity.pixels < 0.05
    _, back = load_pretrained(tmp_path / "out")
    assert back.modalities["image"].aspect == "pad"
    picture = Image.fromarray(torch.randint(0, 256, (40, 90, 3), dtype=torch.uint8).numpy())
    message = [{"role": "user", "content": [{"type": "image", "image": picture}, "shape?"]}]
    ours, again = (each(message)["items"]["image"]["pixel_values"] for each in (processor, back))
    assert torch.equal(ours, again)
    assert not torch.equal(ours, processor.preprocessors["image"].pixels(picture)[None])


def test_tiles_are_refused(tmp_path):
    model, processor = loaded(CLIP)
    model.config.modalities["image"]["options"] = {"aspect": "tiles"}
    assert llava.faults(model, processor) == ["pictures are read with aspect 'tiles'; Llava takes them whole"]


def test_a_model_whose_written_form_differs_is_not_written(tmp_path, monkeypatch):
    """The control: a wrong name for a weight shows in the comparison."""
    model, processor = loaded(CLIP)
    monkeypatch.setattr(llava, "_grown", lambda value, place: place if value.ndim == 4 else value)
    monkeypatch.setattr(llava.LlavaForConditionalGeneration, "load_state_dict", lenient)
    model.config.text_config.vocab_size += 1  # room for the placeholder, so that only the patch embedding is lost
    with pytest.raises(KitError, match=r"its logits would differ by .* from the model's"):
        llava.export(model, processor, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def lenient(self, state, strict=True):
    own = self.state_dict()
    torch.nn.Module.load_state_dict(self, {k: v for k, v in state.items() if own[k].shape == v.shape}, strict=False)


def test_a_quantized_model_is_refused():
    model, processor = loaded(CLIP)
    model.config.quantization_config = {"load_in_8bit": True}
    assert "its weights are quantized; export the model in full precision" in llava.faults(model, processor)


def test_a_broken_image_processor_is_refused_by_name(tmp_path):
    model, processor = loaded(CLIP)
    llava.export(model, processor, tmp_path / "out")
    (tmp_path / "out" / "processor_config.json").write_text("{")
    with pytest.raises(KitError, match=r"processor_config\.json line 1, column 2: not JSON"):
        load_pretrained(tmp_path / "out")


def golden(case, **how):
    model, processor = load_pretrained(GOLDEN / case, **how)
    return model.eval(), processor


def test_halves_that_differ_by_more_than_rounding_are_not_written(tmp_path, monkeypatch):
    model, processor = golden(CLIP, dtype=torch.bfloat16)
    assert llava.export(model, processor, tmp_path / "right").close
    monkeypatch.setattr(llava, "largest", lambda ours, theirs: 0.2 * float(ours.abs().max()))
    with pytest.raises(KitError, match="its logits would differ by"):
        llava.export(model, processor, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_what_the_written_processor_makes_of_a_picture_is_measured(tmp_path):
    """At most a step of 255 away: transformers resizes pictures with torchvision where it is installed, we with PIL."""
    model, processor = golden(CLIP)
    parity = llava.export(model, processor, tmp_path / "out")
    assert parity.pixels <= 1.01 / 255 / min(processor.preprocessors["image"]._processor.image_std)
    assert parity.lines()[-1].startswith("pixels that its processor makes of a picture: largest difference ")
