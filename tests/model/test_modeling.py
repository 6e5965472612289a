"""The model as a transformers model: batches, generation, saving, loading, training mode."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig

from tests import toys
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor
from tinyllava_kit.core.plan import plan
from tinyllava_kit.core.spans import TextSpan
from tinyllava_kit.errors import FusionError

CONVERSATIONS = [
    [{"role": "user", "content": [{"type": "image", "image": "0.png"}, "what is it?"]}],
    [{"role": "user", "content": "a longer question without any picture at all?"}],
    [
        {
            "role": "user",
            "content": ["first", {"type": "image", "image": "1.png"}, "or", {"type": "image", "image": "2.png"}],
        }
    ],
]


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    toys.save_pictures(folder)
    model, processor = toys.picture_model(folder / "llm", tied=request.param)
    return model, processor, folder


@pytest.fixture
def asked(made):
    """The conversations with the pictures' full paths."""
    _, _, folder = made
    text = json.dumps(CONVERSATIONS).replace('"image": "', f'"image": "{folder}/')
    return json.loads(text)


def test_a_sample_has_the_same_logits_alone_and_in_a_batch_padded_on_either_side(made, asked):
    model, processor, _ = made
    with torch.no_grad():
        alone = [model(**processor([c])).logits[0] for c in asked]
        for side in ("left", "right"):
            batch = processor(asked, padding_side=side)
            logits = model(**batch).logits
            for row, mask, single in zip(logits, batch["attention_mask"].bool(), alone, strict=True):
                assert torch.allclose(row[mask], single, atol=1e-4)


def test_greedy_ids_of_a_batch_are_those_of_one_by_one(made, asked):
    model, processor, _ = made
    options = {"max_new_tokens": 7, "do_sample": False}
    batch = processor(asked)
    together = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    for row, conversation in zip(together, asked, strict=True):
        one = processor([conversation])
        alone = model.generate(**one, **options)[0, one["input_ids"].shape[1] :]
        length = min(len(alone), len(row))
        assert row[:length].tolist() == alone[:length].tolist()


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 2}, {"use_cache": False}, {"cache_implementation": "static"}],
    ids=["beams", "no cache", "static cache"],
)
def test_other_ways_to_generate_give_each_row_what_it_gets_alone(made, asked, options):
    model, processor, _ = made
    options = {"max_new_tokens": 5, "do_sample": False, **options}
    batch = processor(asked)
    together = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    one = processor([asked[2]])
    alone = model.generate(**one, **options)[0, one["input_ids"].shape[1] :]
    assert together[2].tolist()[: len(alone)] == alone.tolist()


def test_several_returned_sequences_are_those_of_their_own_row(made, asked):
    model, processor, _ = made
    batch = processor(asked)
    out = model.generate(**batch, num_beams=2, num_return_sequences=2, max_new_tokens=4, do_sample=False)
    assert out.shape[0] == 2 * len(asked)
    best = model.generate(**batch, num_beams=2, max_new_tokens=4, do_sample=False)
    assert out[::2].tolist() == best.tolist()


def test_saving_and_loading_change_nothing(made, asked, tmp_path):
    model, processor, _ = made
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    for loader in (TinyLlavaForConditionalGeneration, AutoModelForCausalLM, AutoModelForImageTextToText):
        again = loader.from_pretrained(tmp_path / "saved")
        for ours, theirs in (
            (model.state_dict(), again.state_dict()),
            (dict(model.named_buffers()), dict(again.named_buffers())),
        ):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    for loader in (TinyLlavaProcessor, AutoProcessor):
        batch = loader.from_pretrained(tmp_path / "saved")(asked)
        with torch.no_grad():
            assert torch.equal(model(**processor(asked)).logits, again(**batch).logits)


def test_a_saved_directory_loads_without_the_checkpoints_it_was_made_of(tmp_path):
    llm = toys.save_llama(tmp_path / "llm")
    model, processor = toys.picture_model(llm)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "saved")
    for file in llm.iterdir():
        file.unlink()
    TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved")
    TinyLlavaProcessor.from_pretrained(tmp_path / "saved")


def test_a_missing_weight_is_an_error_that_names_it(made, tmp_path):
    from safetensors.torch import load_file, save_file

    model, _, _ = made
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("connectors.image.layers.0.bias")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KitError, match=r"missing weights: connectors\.image\.layers\.0\.bias"):
        TinyLlavaForConditionalGeneration.from_pretrained(tmp_path)


def test_a_plugin_that_is_not_installed_gives_the_pip_line_and_a_disabled_one_what_disables_it(
    made, tmp_path, monkeypatch
):
    model, _, _ = made
    model.save_pretrained(tmp_path)
    with monkeypatch.context() as here:
        here.setenv("TINYLLAVA_DISABLED_PLUGINS", "vision-clip")
        with pytest.raises(KitError, match=r"plugin 'vision-clip', which is disabled: .* take it out of"):
            TinyLlavaForConditionalGeneration.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["towers"]["image"].update(name="elsewhere", distribution="tinyllava-kit-vision-elsewhere", version="0.1.0")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(KitError, match=r"pip install 'tinyllava-kit-vision-elsewhere==0\.1\.0'"):
        TinyLlavaForConditionalGeneration.from_pretrained(tmp_path)


def labelled(processor, folder):
    from tinyllava_kit.data.dataset import ConversationDataset

    dataset = ConversationDataset.from_file(toys.picture_rows(folder), processor)
    return processor.collate([dataset[i] for i in range(len(dataset))], labels=True)


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_the_same_whichever_logits_are_kept(made, tmp_path, training):
    model, processor, _ = made
    batch = labelled(processor, tmp_path)
    length, rows = batch["input_ids"].shape[1], batch["plan"].target_positions
    model.train(training)
    with torch.no_grad():
        whole, default = model(**batch, logits_to_keep=0), model(**batch)
        last, some = model(**batch, logits_to_keep=3), model(**batch, logits_to_keep=torch.tensor([4, 1]))
        targets, none = model(**batch, logits_to_keep="targets"), model(**batch, logits_to_keep="none")
    model.eval()
    shifted = torch.nn.functional.cross_entropy(whole.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    assert torch.allclose(whole.loss, shifted, atol=1e-6)
    for each in (default, last, some, targets, none):
        assert torch.allclose(each.loss, whole.loss, atol=1e-6)
        assert torch.allclose(each.target_losses, whole.target_losses, atol=1e-5)
        assert each.target_groups is None
    assert whole.logits.shape[1] == length
    assert torch.allclose(last.logits, whole.logits[:, -3:], atol=1e-5)
    assert torch.allclose(some.logits, whole.logits[:, [4, 1]], atol=1e-5)
    assert torch.allclose(targets.logits, whole.logits.flatten(0, 1)[rows], atol=1e-5)
    assert none.logits is None
    assert (default.logits is None) == training


def test_logits_that_a_step_needs_cannot_be_left_out(made):
    model, _, _ = made
    ids = torch.tensor([[5, 7, 9]])
    with pytest.raises(FusionError, match="logits_to_keep='targets' needs a plan that says where targets are"):
        model(input_ids=ids, logits_to_keep="targets")
    with pytest.raises(FusionError, match="logits_to_keep='none' needs a plan"):
        model(input_ids=ids, labels=ids, logits_to_keep="none")


def test_a_plan_is_nothing_without_the_ids_that_it_lays_out(made, asked):
    model, processor, _ = made
    batch = dict(processor(asked, padding_side="left"))
    del batch["input_ids"]
    with pytest.raises(FusionError, match="a plan comes without the input_ids that it lays out"):
        model(**batch)
    with pytest.raises(KitError, match="generate needs the input_ids that the plan lays out"):
        model.generate(**batch, max_new_tokens=1)


def test_mask_and_positions_that_are_left_out_are_as_the_plan_says(made, asked):
    model, processor, _ = made
    batch = processor(asked, padding_side="left")
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        expected = model(**batch).logits[real]
        found = model(input_ids=batch["input_ids"], items=batch["items"], plan=batch["plan"]).logits[real]
    assert torch.equal(found, expected)


def test_a_batch_without_a_target_has_no_loss_but_where_the_step_has_some(made):
    model, processor, _ = made
    batch = processor([[{"role": "user", "content": "what?"}, {"role": "assistant", "content": "a cat"}]], labels=True)
    inputs, layout = plan([[TextSpan([1, 2, 3], labels=[-100] * 3)]])
    nothing = {**inputs, "plan": layout}
    with pytest.raises(FusionError, match="no position of the batch has a label"):
        model(**nothing)
    assert model(**nothing, num_items_in_batch=5).loss == 0
    with torch.no_grad():
        count = len(batch["plan"].target_positions)
        assert torch.allclose(model(**batch, num_items_in_batch=2 * count).loss * 2, model(**batch).loss, atol=1e-6)


def test_a_frozen_tower_stays_in_eval_and_leaves_no_graph(made, tmp_path):
    model, processor, _ = made
    batch = labelled(processor, tmp_path)
    model.requires_grad_(False)
    model.connectors.requires_grad_(True)
    try:
        model.train()
        assert not model.towers["image"].training
        assert model.connectors["image"].training
        assert not model.encode_features("image", batch["items"]["image"]).features.requires_grad
        model(**batch).loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.connectors.parameters())
        assert all(p.grad is None for p in model.towers.parameters())
    finally:
        model.zero_grad()
        model.requires_grad_(True)
        model.eval()


def test_a_batch_without_the_items_of_its_plan_is_refused(made, asked):
    model, processor, _ = made
    batch = processor(asked)
    batch["items"] = {}
    with pytest.raises(KitError, match="the plan has image items, but the batch brings none"):
        model(**batch)


def test_a_tuple_is_what_the_output_holds(made, asked):
    model, processor, _ = made
    batch = processor(asked)
    with torch.no_grad():
        logits, *_ = model(**batch, return_dict=False)
        assert torch.equal(logits, model(**batch).logits)


@pytest.mark.parametrize("training", [False, True])
def test_hidden_states_and_attentions_come_where_the_configuration_says_so(made, tmp_path, training):
    model, processor, _ = made
    batch = labelled(processor, tmp_path)
    assert model(**batch).hidden_states is None
    model.config.output_hidden_states = True
    try:
        out = model.train(training)(**batch)
        assert (out.logits is None) == training
        assert [tuple(each.shape) for each in out.hidden_states] == [(*batch["input_ids"].shape, 24)] * 3
        assert model(**batch, output_hidden_states=False).hidden_states is None
    finally:
        model.config.output_hidden_states = False
        model.eval()


def test_the_attention_that_is_asked_for_is_the_towers_too(made, asked, tmp_path):
    model, processor, _ = made
    model.save_pretrained(tmp_path)
    eager, as_it_comes = (
        TinyLlavaForConditionalGeneration.from_pretrained(tmp_path, **how)
        for how in ({"attn_implementation": "eager"}, {})
    )
    for each, wanted in ((eager, "eager"), (as_it_comes, "sdpa")):
        modules = [*each.towers.modules(), *each.language_model.modules()]
        configs = [getattr(module, "config", None) for module in modules]
        ways = [config._attn_implementation for config in configs if isinstance(config, PreTrainedConfig)]
        assert set(ways) == {wanted}
        assert len(ways) > 10
    batch = processor(asked)
    with torch.no_grad():
        real = batch["attention_mask"].bool()
        assert torch.allclose(eager(**batch).logits[real], as_it_comes(**batch).logits[real], atol=1e-3)


def test_the_trainer_predicts_logits_and_labels(made, tmp_path):
    from transformers import Trainer, TrainingArguments

    from tinyllava_kit.data.dataset import Collator, ConversationDataset

    model, processor, _ = made
    dataset = ConversationDataset.from_file(toys.picture_rows(tmp_path), processor)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=4, remove_unused_columns=False, report_to="none",
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    predicted = Trainer(model=model, args=arguments, data_collator=Collator(processor)).predict(dataset)
    assert predicted.predictions.shape[::2] == (len(dataset), 320)
    assert predicted.predictions.shape[:2] == predicted.label_ids.shape


def test_a_loss_on_labels_that_are_shifted_already_is_on_these(made):
    model, processor, _ = made
    said = [[{"role": "user", "content": "what?"}, {"role": "assistant", "content": "a cat"}]]
    batch = processor(said, labels=True)
    ids = batch["input_ids"]
    shifted = ids.flip(1)
    with torch.no_grad():
        output = model(input_ids=ids, labels=ids, shift_labels=shifted)
    expected = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), shifted.flatten())
    assert torch.allclose(output.loss, expected, atol=1e-5)
    with pytest.raises(KitError, match="a batch with a plan takes no shift_labels"):
        model(**batch, shift_labels=shifted)


def test_another_decoder_is_used_under_the_same_head(tmp_path):
    model, _ = toys.picture_model(tmp_path)
    ids = torch.tensor([[5, 7, 9]])
    other = AutoModelForCausalLM.from_pretrained(toys.save_llama(tmp_path / "other", seed=1))
    head = model.get_output_embeddings()
    model.set_decoder(other.get_decoder())
    assert model.get_decoder() is other.get_decoder()
    with torch.no_grad():
        expected = head(other.get_decoder()(ids).last_hidden_state)
        assert torch.allclose(model(input_ids=ids).logits, expected, atol=1e-5)
