"""Word matching: the scores, the alignment against one enumerated by hand, and rows that become words."""

from __future__ import annotations

import itertools

import pytest
import torch
import yaml

from tests import toys
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.loading import load_pretrained
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.data.sources import Pairs, Source
from tinyllava_kit.training.objectives.ctc import (
    CTCCollator,
    CTCDataset,
    WordMatcher,
    fewest_rows,
    matcher,
    word_ids,
)
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow

CAPTIONS = ("ab", "to", "c")  # short: a toy picture has four rows
PAIRS = {"modality": "image", "text": "caption", "prompts": ["What?"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return toys.captioned_model(tmp_path_factory.mktemp("matching"), CAPTIONS)


@pytest.fixture(scope="module")
def worded(place):
    model, processor = load_pretrained(place / "model")
    source = Source(path=str(place / "pairs.jsonl"), pairs=Pairs(**PAIRS))
    return model, CTCDataset(ConversationDataset.from_sources([source], processor)), CTCCollator(processor)


def test_a_row_is_scored_by_its_distance_to_each_embedding():
    torch.manual_seed(0)
    embeddings = torch.randn(11, 5) + 2
    words = WordMatcher(embeddings, [1, 4, 7], 6.0)
    rows = torch.randn(2, 3, 5)
    centres = torch.stack([embeddings.mean(0), *embeddings[[1, 4, 7]]])
    spread = (centres[1:] - centres[0]).square().sum(1).mean() / 12
    expected = -((rows[:, :, None] - centres) ** 2).sum(-1) / (2 * spread)
    torch.testing.assert_close(words.scores(rows), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_sums_over_every_alignment_and_draws_the_rows_to_the_embeddings():
    """Against all paths of classes over the rows, written out."""
    embeddings = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    words = WordMatcher(embeddings, [2, 5], 3.0)
    rows = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(2))  # the last one is padding
    target = [5, 2]
    density = words.scores(rows)[0, :4].double().exp()  # (P, 1 + C)
    p = density / density.sum(-1, keepdim=True)
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        said = [k for k, _ in itertools.groupby(path) if k]
        if said == [2, 1]:  # classes of 5 and 2
            total += torch.stack([p[t, k] for t, k in enumerate(path)]).prod()

    class Model:
        def __call__(self, items):
            return type("Output", (), {"item_embeddings": {"m": rows}})

    batch = {
        "items": {},
        "words": {"m": torch.tensor([target])},
        "num_words": {"m": torch.tensor([2])},
        "num_rows": {"m": torch.tensor([4])},
    }
    said, away = -total.log() / 2, -density.sum(-1).log().sum() / 2  # both per word
    assert words(Model(), batch).item() == pytest.approx((said + (-said).exp() * away).item(), rel=1e-4)


def test_an_item_without_room_for_its_words_teaches_nothing():
    words = WordMatcher(torch.randn(9, 4, generator=torch.Generator().manual_seed(1)), [2, 5], 3.0)
    rows = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    losses = words.losses(rows, torch.tensor([2, 2]), torch.tensor([[2, 5, 2], [2, 5, 0]]), torch.tensor([3, 2]))
    losses.sum().backward()
    assert losses[0] == 0
    assert not rows.grad[0].any()
    assert rows.grad[1].any()


def test_the_rows_that_are_matched_are_those_that_the_llm_gets(worded):
    model, dataset, collate = worded
    batch = collate([dataset[0], dataset[2]])
    rows = model(items=batch["items"]).item_embeddings["image"]
    assert torch.equal(rows, model.encode("image", batch["items"]["image"]))
    assert batch["num_rows"]["image"].tolist() == [rows.shape[1]] * 2
    tokenizer = dataset.dataset.processor.tokenizer
    said = [
        tokenizer.decode(ids[:n]) for ids, n in zip(batch["words"]["image"], batch["num_words"]["image"], strict=True)
    ]
    assert said == [CAPTIONS[0], CAPTIONS[2]]


def test_rows_become_words(place):
    stage = {
        "name": "s",
        "data": {"path": str(place / "pairs.jsonl"), "pairs": PAIRS},
        "train": {"connector.image": "full"},
        "match_words": {"sharpness": 8},
        "batch_size": 3,
        "max_steps": 120,
        "learning_rate": 1e-2,
        "cache_features": True,
    }
    recipe = {"model": str(place / "model"), "output": str(place / "out"), "stages": [stage]}
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    model, processor = load_pretrained(run_recipe(Recipe.from_yaml(place / "recipe.yaml")))
    source = Source(path=str(place / "pairs.jsonl"), pairs=Pairs(**PAIRS))
    dataset = CTCDataset(ConversationDataset.from_sources([source], processor))
    batch = CTCCollator(processor)([dataset[n] for n in range(3)])
    words = matcher(model.get_input_embeddings().weight, dataset.words, 8)
    with torch.no_grad():
        scores = words.scores(model(items=batch["items"]).item_embeddings["image"])  # (N, P, 1 + C)
    best = scores.argmax(-1)  # (N, P)
    assert scores.max(-1).values.min() > -1  # on an embedding, not only nearest to it; between two it is -4 on average
    for path, (ids,) in zip(best, dataset.words, strict=True):
        said = [k for k, _ in itertools.groupby(path.tolist()) if k]
        assert said == words.class_of[ids].tolist()


def test_words_without_room_are_counted(worded):
    _, dataset, _ = worded
    processor = dataset.dataset.processor
    collate = CTCCollator(processor)
    encoded, _ = dataset[0]
    room = processor.connectors["image"].num_tokens(sum(encoded.items[0].num_features))
    collate([(encoded, [[5, 6] * (room // 2)]), (encoded, [[5] * (room // 2 + 1)])])
    assert collate.num_cut == 1
    assert fewest_rows([5, 5, 6]) == 4


def test_items_that_say_nothing_make_a_batch_and_a_finite_loss(worded):
    """A silent recording has an empty transcript."""
    model, dataset, collate = worded
    encoded, _ = dataset[0]
    words = matcher(model.get_input_embeddings().weight, dataset.words, 8)
    for samples in ([(encoded, [[]])], [(encoded, [[]]), dataset[2]]):
        loss = words(model, collate(samples))
        assert loss.isfinite()
        loss.backward()


def test_the_first_word_is_written_as_inside_a_sentence(worded):
    _, dataset, _ = worded
    tokenizer = dataset.dataset.processor.tokenizer
    assert word_ids(" red hen ", tokenizer) == tokenizer("red hen", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"llm": "full"}}, "stage s: match_words trains towers and connectors; take llm out of train"),
        ({"distill": {}}, "stage s: has distill and match_words; make two stages of them"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, changes, message):
    stage = {"name": "s", "data": "a.json", "train": {"connector.image": "full"}, "match_words": {}, **changes}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"model": "m", "output": "o", "stages": [stage]}))
    with pytest.raises(KitError, match=message):
        Recipe.from_yaml(tmp_path / "r.yaml")


def test_an_item_without_words_is_refused(worded):
    _, dataset, _ = worded
    processor = dataset.dataset.processor
    rows = [{"id": "r", "image": "0.png", "conversations": [{"from": "human", "value": "<image>"}]}]
    with pytest.raises(KitError, match=r"row\[0\] 'r': match_words needs items, each with its text"):
        CTCDataset(ConversationDataset(rows, processor))
