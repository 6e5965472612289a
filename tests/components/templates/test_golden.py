"""Our templates and tokenization against prompts, ids and labels of TinyLLaVA_Factory.

Every case of ``golden/data/templates.json`` is in exactly one of: equal, a defect of the Factory's that ours does
not have, a difference of transformers 5's tokenizers.
"""

import json
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tinyllava_kit.components.templates.plugin import tinyllava_chat_templates
from tinyllava_kit.core.conversation import ITEM, Conversation, Span, Turn, from_messages, from_row
from tinyllava_kit.core.spans import IGNORE_INDEX
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import ModalitySpec, TokenType, load
from tinyllava_kit.processing.encoding import encode_spans

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "golden" / "data"
GOLDEN = {key: case for key, case in json.loads((DATA / "templates.json").read_text()).items() if key.count("|") == 3}
PIECES = json.loads((DATA / "tokenizer_image_token.json").read_text())
FACTORY_ITEM = -200
MODALITIES = {"image": ModalitySpec(name="image", target="nowhere:Image", token=TokenType(placeholder="<image>"))}

ROWS = {
    "single_turn_image": ["<image>\nWhat is in this image?", "a small red cat"],
    "single_turn_image_suffix": ["What is in this image?\n<image>", "a small red cat"],
    "multi_turn_image": [
        "<image>\nWhat is in this image?",
        "a small red cat",
        "How many people are there?",
        "two people and one bird",
    ],
    "text_only": ["How many people are there?", "There are two people."],
    "two_image_tags_one_turn": ["<image><image>\nCompare.", "red and blue"],
    "image_tag_in_each_turn": ["<image>\nWhat is this?", "a cat", "<image>\nAnd this?", "a dog"],
    "image_tag_in_answer": ["What?", "see <image> here"],
    "first_message_from_gpt": [None, "Hello.", "<image>\nWhat is this?", "a cat"],
    "odd_turns": ["<image>\nWhat is this?", "a cat", "And the color?"],
    "answer_contains_separator": ["Say it.", "ok ASSISTANT: yes"],
    "empty_answer": ["<image>\nWhat is this?", ""],
    "unicode": ["<image>\nWas ist das? é 猫", "naïve 猫"],
    "eval_one_turn": ["<image>\nWhat is this?"],
    "eval_text_only": ["What is this?"],
    "eval_second_turn": ["<image>\nWhat is this?", "a cat", "And the color?"],
}
# Rows for which the Factory writes an image that is not there, drops one that is, or fails: PEER.md 1.7.
DEFECTS = {
    "chat": {"two_image_tags_one_turn", "odd_turns", "answer_contains_separator"},
    "pretrain": {
        "two_image_tags_one_turn",
        "odd_turns",
        "answer_contains_separator",
        "text_only",
        "multi_turn_image",
        "image_tag_in_answer",
        "eval_one_turn",
        "eval_text_only",
        "eval_second_turn",
    },
}
# A piece that begins with a space: sentencepiece puts its own space before that one, transformers 5 does not.
SPACES = {("llama_legacy_false", "llama"), ("llama_legacy_true", "llama")}


def parts(key):
    tokenizer, template, mode, row = key.split("|")
    return tokenizer, template, mode, row


def is_defect(key):
    _, template, _, row = parts(key)
    return row in DEFECTS["pretrain" if template == "pretrain" else "chat"]


def is_space(key):
    tokenizer, template, _, row = parts(key)
    return row == "image_tag_in_answer" and (tokenizer, template) in SPACES


@cache
def tokenizer_of(name):
    return AutoTokenizer.from_pretrained(DATA / "tokenizers" / name)


def conversation(row):
    """The LLaVA row as a conversation; a first None means that the assistant speaks first."""
    said = ROWS[row]
    roles = ["human", "gpt"] * len(said)
    return from_row(
        {
            "image": ["a.png"] * "".join(text or "" for text in said).count("<image>"),
            "conversations": [
                {"from": role, "value": text} for role, text in zip(roles, said, strict=False) if text is not None
            ],
        },
        MODALITIES,
    )


def flat(spans):
    """Ids as the Factory writes them, its sentinel for an item, and labels."""
    ids, labels = [], []
    for span in spans:
        ids += [FACTORY_ITEM] if span is None else span.ids
        labels += [IGNORE_INDEX] if span is None else span.labels or [IGNORE_INDEX] * len(span.ids)
    return ids, labels


def ours(key, turns=None):
    """Prompt, ids and labels of a case, in our way."""
    tokenizer, name, mode, row = parts(key)
    spec = next(spec for spec in tinyllava_chat_templates() if spec.name == name)
    template = load(spec)(tokenizer_of(tokenizer))
    spans = template.render(turns or conversation(row).turns, answer=mode == "eval")
    ids, labels = flat(encode_spans(spans, template.tokenizer, add_bos=template.add_bos))
    return "".join(span.text for span in spans).replace(ITEM, "<image>"), ids, labels


def golden_labels(key):
    """The Factory's labels. It sometimes labels the sentinel; the item's rows are never learned there either."""
    return [IGNORE_INDEX if label == FACTORY_ITEM else label for label in GOLDEN[key]["labels"]]


def without(ids, *places):
    """`ids` without the images at these places (counted among the images)."""
    at = [number for number, token in enumerate(ids) if token == FACTORY_ITEM]
    gone = {at[place] for place in places}
    return [token for number, token in enumerate(ids) if number not in gone]


def keys(*rows, pretrain=False):
    found = [key for key in GOLDEN if parts(key)[3] in rows and (parts(key)[1] == "pretrain") == pretrain]
    assert len(found) == 7 * len(rows)
    return found


@pytest.mark.parametrize("key", [key for key in GOLDEN if not is_defect(key) and not is_space(key)])
def test_prompt_ids_and_labels_are_those_of_the_factory(key):
    prompt, ids, labels = ours(key)
    assert prompt == GOLDEN[key]["prompt"]
    assert ids == GOLDEN[key]["input_ids"]
    if "labels" in GOLDEN[key]:
        assert labels == golden_labels(key)


@pytest.mark.parametrize("key", [key for key in GOLDEN if is_space(key)])
def test_a_piece_that_begins_with_a_space_is_one_token_shorter_than_with_sentencepiece(key):
    prompt, ids, labels = ours(key)
    assert prompt == GOLDEN[key]["prompt"]
    behind = GOLDEN[key]["input_ids"].index(FACTORY_ITEM) + 1
    space = tokenizer_of(parts(key)[0]).convert_tokens_to_ids("▁")
    assert [*ids[:behind], space, *ids[behind:]] == GOLDEN[key]["input_ids"]
    assert [*labels[:behind], space, *labels[behind:]] == golden_labels(key)


@pytest.mark.parametrize("key", PIECES)
def test_text_around_items_is_tokenized_piece_by_piece_as_in_the_factory(key):
    name, _, text = key.partition("|")
    spans = encode_spans([Span(text.replace("<image>", ITEM))], tokenizer_of(name), add_bos=True)
    assert flat(spans)[0] == PIECES[key]


@pytest.mark.parametrize("key", keys("answer_contains_separator"))
def test_an_answer_that_contains_the_separator_is_learned_where_the_factory_learns_nothing(key):
    _, ids, labels = ours(key)
    assert ids == GOLDEN[key]["input_ids"]
    assert set(GOLDEN[key]["labels"]) == {IGNORE_INDEX}
    learned = [label for label in labels if label != IGNORE_INDEX]
    assert tokenizer_of(parts(key)[0]).decode(learned, skip_special_tokens=True).strip() == "ok ASSISTANT: yes"


@pytest.mark.parametrize("key", keys("two_image_tags_one_turn"))
def test_two_images_of_a_turn_stay_where_the_factory_keeps_one(key):
    prompt, ids, _ = ours(key)
    assert "USER: <image><image>\nCompare." in prompt
    assert without(ids, 1) == GOLDEN[key]["input_ids"]


@pytest.mark.parametrize("key", keys("odd_turns") + keys("odd_turns", pretrain=True))
def test_a_last_question_without_answer_is_written_and_not_learned_where_the_factory_fails(key):
    assert GOLDEN[key]["exception"].startswith("AssertionError")
    prompt, ids, labels = ours(key)
    answered, answered_ids, answered_labels = ours(key, conversation("odd_turns").turns[:2])
    assert prompt == answered + ("" if parts(key)[1] == "pretrain" else "USER: And the color?")
    assert ids[: len(answered_ids)] == answered_ids
    assert labels == answered_labels + [IGNORE_INDEX] * (len(ids) - len(answered_ids))


@pytest.mark.parametrize("key", keys("image_tag_in_answer"))
def test_the_word_image_in_an_answer_of_messages_is_text_where_the_factory_makes_an_item_of_it(key):
    messages = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "see <image> here"}]
    prompt, ids, _ = ours(key, from_messages(messages, MODALITIES).turns)
    assert prompt == GOLDEN[key]["prompt"]
    assert FACTORY_ITEM in GOLDEN[key]["input_ids"]
    assert FACTORY_ITEM not in ids


@pytest.mark.parametrize("key", keys("text_only", "answer_contains_separator", pretrain=True))
def test_pretrain_writes_no_image_into_a_row_without_one_where_the_factory_does(key):
    _, ids, labels = ours(key)
    image = GOLDEN[key]["input_ids"].index(FACTORY_ITEM)
    assert ids == without(GOLDEN[key]["input_ids"], 0)
    assert labels == golden_labels(key)[:image] + golden_labels(key)[image + 1 :]


@pytest.mark.parametrize("key", keys("image_tag_in_answer", pretrain=True))
def test_pretrain_writes_only_the_image_of_the_answer_where_the_factory_adds_one(key):
    _, ids, _ = ours(key)
    expected = without(GOLDEN[key]["input_ids"], 0)
    if parts(key)[0].startswith("llama"):  # the space that sentencepiece adds behind the image
        del expected[expected.index(FACTORY_ITEM) + 1]
    assert ids == expected


@pytest.mark.parametrize("key", keys("two_image_tags_one_turn", pretrain=True))
def test_pretrain_keeps_both_images_of_a_turn_where_the_factory_keeps_one(key):
    assert without(ours(key)[1], 1) == GOLDEN[key]["input_ids"]


@pytest.mark.parametrize("key", keys("multi_turn_image", pretrain=True))
def test_pretrain_writes_an_image_where_a_turn_has_one_and_the_factory_in_every_turn(key):
    question, answer, _, second = conversation("multi_turn_image").turns
    assert ours(key)[0] == "<image>a small red cat\ntwo people and one bird\n"
    _, ids, labels = ours(key, [question, answer, question, second])
    assert ids == GOLDEN[key]["input_ids"]
    assert labels == golden_labels(key)


@pytest.mark.parametrize("key", keys("eval_one_turn", "eval_text_only", "eval_second_turn", pretrain=True))
def test_pretrain_asks_with_the_items_alone_where_the_factory_writes_its_own_source(key):
    assert GOLDEN[key]["prompt"].endswith("<image>{{content}}\n:")
    expected = {"eval_one_turn": "<image>", "eval_text_only": "", "eval_second_turn": "<image>a cat\n"}
    assert ours(key)[0] == expected[parts(key)[3]]


def test_an_answer_before_the_first_question_that_holds_an_item_is_refused():
    spec = next(spec for spec in tinyllava_chat_templates() if spec.name == "phi")
    turns = (Turn("assistant", f"see {ITEM}"), Turn("user", "what?"))
    with pytest.raises(KitError, match="before the first question holds an item; begin with a user's turn"):
        load(spec)(tokenizer_of("phi")).render(Conversation(turns).turns)
