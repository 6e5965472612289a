"""Training: what learns and what stays, rates per part, cached features, resuming, and learning something at all."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
import yaml
from transformers.trainer_utils import get_last_checkpoint

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import Collator, ConversationDataset
from tinyllava_kit.data.sources import Pairs, Source, Strict
from tinyllava_kit.model.storage.replaced import save_together
from tinyllava_kit.training.recipe import Recipe, Stage
from tinyllava_kit.training.run import run_recipe
from tinyllava_kit.training.stage_settings import (
    Distill,
    FeatureCaching,
    Lora,
    MatchFeatures,
    MatchWords,
    Packing,
    PartTraining,
    Quantized,
    Validation,
)
from tinyllava_kit.training.trained_parts import OpenParts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    toys.save_picture_model(folder)
    toys.picture_rows(folder)
    return folder


def train(place, name, **stage):
    stage = {
        "name": "s",
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full"},
        "batch_size": 2,
        "logging_steps": 1,
        "schedule": "constant_with_warmup",
        "warmup_ratio": 0,
        **stage,
    }
    recipe = {"model": str(place / "model"), "output": str(place / name), "stages": [stage]}
    (place / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return run_recipe(Recipe.from_yaml(place / f"{name}.yaml"))


def losses(directory):
    return [e["loss"] for e in json.loads((directory / "log.json").read_text()) if "loss" in e]


def test_only_the_named_parts_change(place):
    before, _ = load_pretrained(place / "model")
    after, _ = load_pretrained(train(place, "only", max_steps=2))
    changed = {k for k, v in after.state_dict().items() if not torch.equal(v, before.state_dict()[k])}
    assert changed == {k for k in before.state_dict() if k.startswith("connectors.")}


def test_a_model_learns_its_rows_by_heart(place):
    found = losses(
        train(
            place,
            "heart",
            max_steps=40,
            batch_size=6,
            learning_rate=1e-2,
            train={"connector.image": "full", "llm": "full"},
        )
    )
    assert found[-1] < found[0] / 10


def test_cached_features_give_the_losses_of_the_tower_itself(place):
    plain = losses(train(place, "plain", max_steps=4))
    cached = losses(train(place, "cached", max_steps=4, cache_features=True))
    assert plain == pytest.approx(cached, abs=1e-4)


def test_stages_share_the_features_of_a_tower_until_it_is_trained(place, capsys):
    stage = {
        "data": str(place / "rows.json"),
        "train": {"connector.image": "full"},
        "max_steps": 1,
        "batch_size": 2,
        "warmup_ratio": 0,
        "cache_features": True,
    }
    tuned = {**stage, "train": {"tower.image": "full"}, "cache_features": False, "epochs": 1, "max_steps": -1}
    stages = [{"name": "a", **stage}, {"name": "b", **stage}, {"name": "c", **tuned}, {"name": "d", **stage}]
    recipe = {"model": str(place / "model"), "output": str(place / "shared"), "stages": stages}
    run_recipe(Recipe.model_validate(recipe))
    assert re.findall(r"encoded (\d+) items", capsys.readouterr().out) == ["3", "0", "3"]


def test_a_second_run_finds_the_features_of_the_first_in_the_folder_that_the_stage_names(place, capsys):
    how = {"mode": True, "dir": str(place / "kept"), "max_gb": 1}
    first = losses(train(place, "first", max_steps=3, cache_features=how))
    second = losses(train(place, "second", max_steps=3, cache_features=how))
    assert re.findall(r"encoded (\d+) items", capsys.readouterr().out) == ["3", "0"]
    assert first == second
    assert not (place / "first" / "features.cache").exists()


def test_auto_keeps_features_where_they_win_and_says_both_figures(place, capsys, monkeypatch):
    from tinyllava_kit.training import feature_caching as caching

    figures = iter([5.0, 5.0, 0.1, 0.1] * 3)  # the tower twice, reading twice
    monkeypatch.setattr(caching, "_seconds", lambda work: (work(), next(figures))[1])
    train(place, "won", epochs=3, cache_features="auto")
    out = capsys.readouterr().out
    assert "an item takes 1.7 s through its tower, 0.033 s from the cache; 3 items used 18 times: 30 s without, " in out
    assert "6 s with: kept\nencoded 0 items" in out
    train(place, "lost", epochs=1, max_steps=1, batch_size=1, cache_features="auto")
    assert "with: not kept" in capsys.readouterr().out
    monkeypatch.setattr(caching, "TRIED", 1)
    train(place, "roomy", epochs=3, cache_features={"mode": "auto", "max_gb": 1.2e-6})
    assert "GB: not kept" in capsys.readouterr().out


def test_features_that_have_no_room_are_refused(place):
    with pytest.raises(
        KitError, match=r"features take more than max_gb 1e-06 in '.*/no-room/features\.cache'; raise it"
    ):
        train(place, "no-room", cache_features={"max_gb": 1e-6})


def test_a_complete_stage_is_not_run_again_and_says_so(place, capsys):
    train(place, "twice", max_steps=1)
    capsys.readouterr()
    train(place, "twice", max_steps=1, logging_steps=3)
    assert "stage s is complete" in capsys.readouterr().out


def test_a_model_that_the_stage_did_not_leave_is_not_taken_for_it(place):
    """Another one was assembled, or copied, into its directory; without the digests of an earlier version it is."""
    done = train(place, "replaced", max_steps=3)
    settings, own = done / "stage.json", (done / "model.safetensors").read_bytes()
    wrong = r"stage s: .*replaced/s' holds a model that this stage did not train; remove the directory"
    shutil.copyfile(place / "model" / "model.safetensors", done / "model.safetensors")
    with pytest.raises(KitError, match=wrong):
        train(place, "replaced", max_steps=3)
    left = json.loads(settings.read_text())
    del left["weights"]
    settings.write_text(json.dumps(left))
    train(place, "replaced", max_steps=3)
    (done / "model.safetensors").write_bytes(own)
    save_together(done, *load_pretrained(place / "model"))
    assert not (done / "training.json").exists()
    with pytest.raises(KitError, match=wrong):
        train(place, "replaced", max_steps=3)


def test_a_stage_that_was_run_with_other_settings_is_refused(place):
    train(place, "changed", max_steps=1)
    with pytest.raises(KitError, match=r"stage s: .*changed/s' was trained with max_steps 1, the recipe has 2; remove"):
        train(place, "changed", max_steps=2)


def test_a_missing_file_is_named_before_training(place):
    rows = json.loads((place / "rows.json").read_text())
    rows[-2]["image"] = "images/gone.png"
    rows[-2]["conversations"][0]["value"] = "<image>"
    (place / "gone.json").write_text(json.dumps(rows))
    with pytest.raises(KitError, match=r"gone\.json\[4\] 'row-4': image '.*gone\.png' is no file"):
        train(place, "gone", data=str(place / "gone.json"), max_steps=1)
    assert not (place / "gone" / "s").exists()


def test_a_stage_before_the_one_it_starts_from_is_refused(place):
    stage = {"data": str(place / "rows.json"), "train": {"connector.image": "full"}}
    recipe = {"model": str(place / "model"), "output": str(place / "early"), "stages": [{"name": "a", **stage}]}
    recipe["stages"].append({"name": "b", **stage})
    with pytest.raises(KitError, match="stage 'a' was not run yet, and 'b' starts from it; run it first"):
        run_recipe(Recipe.model_validate(recipe), only="b")


def test_accumulated_steps_equal_one_large_batch(place):
    large = losses(train(place, "large", max_steps=3, batch_size=6))
    small = losses(train(place, "small", max_steps=3, batch_size=2, gradient_accumulation=3))
    assert large == pytest.approx(small, abs=1e-4)


def test_an_interrupted_stage_goes_on_where_it_was(place):
    whole = train(place, "whole", max_steps=6, save_steps=3)
    shutil.copytree(place / "whole", place / "cut")
    for file in (place / "cut" / "s").iterdir():
        if file.is_file():
            file.unlink()
    checkpoints = place / "cut" / "s" / "checkpoints"
    shutil.rmtree(get_last_checkpoint(str(checkpoints)))
    shutil.copytree(_checkpoint_of_step(place, 3), checkpoints / "checkpoint-3")
    resumed = train(place, "cut", max_steps=6, save_steps=3)
    assert losses(resumed)[3:] == losses(whole)[3:]


def _checkpoint_of_step(place, step):
    """A run that was stopped there; the recipe, and so the rates, are those of the whole one."""
    from tinyllava_kit.training.loop.trainer import KitTrainer

    stopped = place / "stopped"
    keep = KitTrainer.train

    def stop(self, *args, **kwargs):
        from transformers import TrainerCallback

        class Stop(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                control.should_training_stop = True

        self.add_callback(Stop())
        return keep(self, *args, **kwargs)

    KitTrainer.train = stop
    try:
        train(place, "stopped", max_steps=6, save_steps=step)
    finally:
        KitTrainer.train = keep
    return stopped / "s" / "checkpoints" / f"checkpoint-{step}"


def test_each_part_has_its_own_rate_and_vectors_do_not_decay(place):
    from tinyllava_kit.training.loop.arguments import training_arguments
    from tinyllava_kit.training.loop.trainer import KitTrainer

    model, _ = load_pretrained(place / "model")
    how = {
        "connector.image": PartTraining(mode="full", learning_rate=2e-3, weight_decay=0.1),
        "llm": PartTraining(mode="lora"),
    }
    parts = OpenParts(model, how)
    recipe = Recipe.model_validate(
        {
            "model": "m",
            "output": "o",
            "stages": [{"name": "s", "data": "d", "train": {"llm": "lora"}, "learning_rate": 5e-4}],
        }
    )
    trainer = KitTrainer(
        model=model,
        args=training_arguments(recipe.stages[0], place / "unused", 0, epochs=1),
        training=[(module, how[name]) for name, module in parts.trained.items()],
    )
    groups = trainer.create_optimizer().param_groups
    assert [(g["lr"], g["weight_decay"], {p.ndim for p in g["params"]}) for g in groups] == [
        (2e-3, 0.1, {2}),
        (2e-3, 0.0, {1}),
        (5e-4, 0.0, {2}),
    ]


LEVELS = {  # where each part of the schema stands in a recipe
    Recipe: [],
    Stage: ["stages", 1],
    Source: ["stages", 1, "data", 0],
    Pairs: ["stages", 1, "data", 0, "pairs"],
    PartTraining: ["stages", 1, "train", "llm"],
    Lora: ["stages", 1, "train", "llm", "lora"],
    FeatureCaching: ["stages", 1, "cache_features"],
    Distill: ["stages", 1, "distill"],
    MatchWords: ["stages", 1, "match_words"],
    MatchFeatures: ["stages", 1, "match_features"],
    Packing: ["stages", 1, "packing"],
    Validation: ["stages", 1, "validation"],
    Quantized: ["stages", 1, "quantization"],
}


def recipe_with(place, key):
    """Two stages with every part of the schema, and an unknown key at one place."""
    data = {"path": "rows.json", "pairs": {"modality": "image", "prompts": ["What?"]}}
    objectives = {"distill": {}, "match_words": {}, "match_features": {"teacher": "m"}, "cache_features": {}}
    objectives |= {"packing": {}, "quantization": {"bits": 4}, "validation": {"data": "v"}}
    full = {"name": "b", "data": [data], "train": {"llm": {"mode": "lora", "lora": {}}}, **objectives}
    recipe = {"model": "m", "output": "o", "stages": [{"name": "a", "data": "r", "train": {"llm": "full"}}, full]}
    at = recipe
    for step in place:
        at = at[step]
    at[key] = 1
    return recipe


def test_every_part_of_the_schema_has_a_level():
    assert set(Strict.__subclasses__()) == LEVELS.keys()


@pytest.mark.parametrize("part", LEVELS, ids=lambda part: part.__name__)
def test_an_unknown_key_gets_the_near_one_of_its_own_level(tmp_path, part):
    place = LEVELS[part]
    key = next(name for other in LEVELS for name in other.model_fields if name not in part.model_fields)
    for given, wanted in ((f"{next(iter(part.model_fields))}x", next(iter(part.model_fields))), (key, None)):
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe_with(place, given)))
        with pytest.raises(KitError, match="unknown key; ") as error:
            Recipe.from_yaml(tmp_path / "r.yaml")
        where, advice = str(error.value).removeprefix(f"{tmp_path}/r.yaml: ").split(": unknown key; ")
        assert where == ".".join(map(str, [*place, given]))
        named = re.findall(r"'(\w+)'", advice) or advice.removeprefix("known: ").split(", ")
        assert set(named) <= part.model_fields.keys()
        assert wanted is None or wanted in named


def test_merged_adapters_give_the_logits_that_they_gave_unmerged(place):
    model, processor = load_pretrained(place / "model")
    parts = OpenParts(model, {"llm": PartTraining(mode="lora")})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        model.eval()
        batch = processor([{"role": "user", "content": "hello there"}])
        before = model(**batch).logits
        parts.merge()
        assert torch.allclose(model(**batch).logits, before, atol=1e-4)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_the_head_gets_no_adapter(place):
    model, _ = load_pretrained(place / "model")
    OpenParts(model, {"llm": PartTraining(mode="lora")})
    assert not any("lora" in name for name, _ in model.get_output_embeddings().named_parameters())


def test_a_part_without_parameters_is_an_error(tmp_path):
    from tinyllava_kit import assemble

    assembly = toys.picture_assembly(toys.save_llama(tmp_path / "llm", hidden=32), "identity")
    model, _ = assemble(assembly)
    with pytest.raises(KitError, match=r"train\.connector\.image: the part has no parameters to train"):
        OpenParts(model, {"connector.image": PartTraining(mode="full")})


def test_a_trained_tower_cannot_be_cached(place):
    with pytest.raises(KitError, match=r"cache_features: tower\.image is trained"):
        train(place, "both", train={"tower.image": "full"}, cache_features=True)


def test_a_batch_with_nothing_to_learn_names_its_rows(place):
    _, processor = load_pretrained(place / "model")
    dataset = ConversationDataset.from_file(place / "rows.json", processor)
    with pytest.raises(KitError, match=r"nothing to learn in .*/rows\.json\[0\] 'row-0'.*max_length 3 cuts it off"):
        Collator(processor, max_length=3)([dataset[0]])


def test_a_batch_of_text_alone_gives_an_idle_connector_a_zero_gradient(place):
    model, processor = load_pretrained(place / "model")
    OpenParts(model, {"connector.image": PartTraining(mode="full")})
    model.train()
    batch = processor([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], labels=True)
    model(**batch).loss.backward()
    for parameter in model.connectors.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()
