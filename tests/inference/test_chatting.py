"""A conversation turn by turn answers as the whole one asked anew, and runs only what is new."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from tests import toys
from tinyllava_kit import KitError, assemble
from tinyllava_kit.assembly.assembly import Assembly
from tinyllava_kit.core.conversation import Conversation, Item, Span, Turn
from tinyllava_kit.inference.chatting import Chat

RNG = np.random.default_rng(5)
# Earlier answers are written in other words once more turns follow.
FORGETFUL = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% if m['role'] == 'assistant' and not loop.last %}...{% else %}{{ m['content'] }}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def picture(side=30):
    return Item("image", RNG.integers(0, 256, (side, side + 3, 3), dtype=np.uint8))


def with_jinja(processor, jinja):
    processor.tokenizer.chat_template = jinja
    return processor.with_template("auto")


@pytest.fixture
def pair(tmp_path):
    return toys.picture_model(tmp_path / "llm")


class Watched:
    """A chat that notes, for each turn, the ids of the answer and the length of the first run of the LLM."""

    def __init__(self, model, processor, monkeypatch, **options):
        self.chat = Chat(model, processor, **{"max_new_tokens": 5, **options})
        self.answers, self.runs, self.pictures = [], [], 0
        generate = model.generate

        def watched(**kwargs):
            self.runs.append([])
            ids = generate(**kwargs)
            self.answers.append(ids[0, kwargs["input_ids"].shape[1] :].tolist())
            return ids

        def run(module, args, kwargs):
            self.runs[-1].append(kwargs["inputs_embeds"].shape[1])

        monkeypatch.setattr(model, "generate", watched)
        model.get_decoder().register_forward_pre_hook(run, with_kwargs=True)
        model.towers["image"].register_forward_hook(self._count)

    def _count(self, module, args, output):
        self.pictures += len(output.features)


def anew(model, processor, conversation, **options):
    """The ids of the answer to a whole conversation, without a cache of earlier turns."""
    batch = processor(conversation, answer=True)
    ids = type(model).generate(
        model, **batch, **{"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, **options}
    )
    return ids[0, batch["input_ids"].shape[1] :].tolist()


def words_only(processor):
    """Generation that says nothing but words, so that they are shown one by one."""
    tokens = processor.tokenizer.convert_ids_to_tokens(range(320))
    return {"suppress_tokens": [n for n, token in enumerate(tokens) if not (token[0] == "▁" and token[1:].isalpha())]}


def talk(watched, lines):
    """Say the lines, two with pictures -> for each, what `anew` is asked in its place."""
    asked = []
    for number, line in enumerate(lines):
        if number in (0, 2):
            watched.chat.attach(picture())
        before, waiting = watched.chat.history, tuple(watched.chat.waiting)
        watched.chat.say(line)
        user = watched.chat.history.turns[-2]
        asked.append(Conversation((*before.turns, user), before.items + waiting))
    return asked


LINES = ["what is it?", "and now?", "is <image> the same?", "sure?"]


@pytest.mark.parametrize("jinja", [toys.CHAT_TEMPLATE, FORGETFUL], ids=["appending", "rewriting"])
def test_every_answer_is_that_of_the_whole_conversation(pair, jinja, monkeypatch):
    model, processor = pair
    processor = with_jinja(processor, jinja)
    watched = Watched(model, processor, monkeypatch)
    asked = talk(watched, LINES)
    assert watched.answers == [anew(model, processor, each) for each in asked]
    assert len({tuple(ids) for ids in watched.answers}) > 1
    assert [turn.role for turn in watched.chat.history.turns] == ["user", "assistant"] * 4


def test_only_what_is_new_is_run(pair, monkeypatch):
    model, processor = pair
    end = processor.tokenizer.eos_token_id
    silent = [token for token in range(model.config.text_config.vocab_size) if token != end]
    watched = Watched(model, processor, monkeypatch, suppress_tokens=silent)
    asked = talk(watched, LINES)
    assert watched.answers == [[end]] * 4
    lengths = [0, *(processor(each, answer=True)["input_ids"].shape[1] for each in asked)]
    assert [run[0] for run in watched.runs] == [b - a for a, b in pairwise(lengths)]


def test_a_picture_is_seen_once_also_where_the_template_rewrites_what_follows_it(pair, monkeypatch):
    model, processor = pair
    watched = Watched(model, with_jinja(processor, FORGETFUL), monkeypatch)
    talk(watched, LINES)
    assert watched.pictures == 2


def test_layers_that_cannot_be_cut_are_run_anew(tmp_path, monkeypatch):
    toys.save_llama(tmp_path / "llm")
    torch.manual_seed(1)
    sizes = {"hidden_size": 24, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(
        **sizes, vocab_size=320, num_key_value_heads=2, sliding_window=13, initializer_range=0.3, eos_token_id=2
    )
    MistralForCausalLM(config).save_pretrained(tmp_path / "llm")
    parts = Assembly.from_flags(
        llm=f"causal_lm:{tmp_path / 'llm'}", towers=[f"image=clip:{toys.CLIP}"], connectors=["image=linear"]
    )
    model, processor = assemble(parts)
    processor = with_jinja(processor, FORGETFUL)
    watched = Watched(model, processor, monkeypatch)
    asked = talk(watched, LINES)
    assert watched.answers == [anew(model, processor, each) for each in asked]


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(pair, monkeypatch):
    model, processor = pair
    words = words_only(processor)
    watched = Watched(model, processor, monkeypatch, max_new_tokens=40, **words)
    chat = watched.chat
    whole = chat.say("hello?")
    chat.clear()
    pieces = []

    def stop(piece):
        pieces.append(piece)
        if len(pieces) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.say("hello?", stop)
    user, assistant = chat.history.turns
    assert user.text == "hello?"
    assert assistant.text
    assert whole.startswith(assistant.text)
    assert assistant.text != whole
    chat.say("and?")
    asked = Conversation((user, assistant, Turn("user", "and?")))
    assert watched.answers[-1] == anew(model, processor, asked, max_new_tokens=40, **words)


def test_a_question_that_is_stopped_before_its_answer_is_not_kept(pair, monkeypatch):
    model, processor = pair
    chat = Chat(model, processor, max_new_tokens=3)
    chat.attach(picture())

    def stop(*args):
        raise KeyboardInterrupt

    hook = model.towers["image"].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        chat.say("what?")
    assert chat.history.turns == ()
    assert len(chat.waiting) == 1
    hook.remove()
    chat.say("what?")
    assert (len(chat.history.turns), len(chat.history.items), chat.waiting) == (2, 1, [])


def test_a_question_without_room_leaves_the_conversation_as_it_was(pair):
    chat = Chat(*pair, max_new_tokens=3)
    chat.say("hello?")
    before = chat.history
    with pytest.raises(KitError, match=r"takes \d+ positions, its items included.* the LLM has 512"):
        chat.say("w" * 600)
    assert chat.history == before
    chat.say("and?")
    assert len(chat.history.turns) == 4


def test_an_item_that_the_model_does_not_read_is_refused_when_it_is_given(pair):
    chat = Chat(*pair)
    with pytest.raises(KitError, match="does not read 'audio'; it reads image"):
        chat.attach(Item("audio", "a.wav"))
    with pytest.raises(KitError, match=r"image 'gone\.png' does not exist"):
        chat.attach(Item("image", "gone.png"))
    assert chat.waiting == []


def test_after_clear_nothing_is_known(pair, monkeypatch):
    model, processor = pair
    watched = Watched(model, processor, monkeypatch)
    talk(watched, LINES)
    watched.chat.clear()
    watched.chat.say("hello?")
    assert watched.answers[-1] == anew(model, processor, Conversation((Turn("user", "hello?"),)))


def test_a_nul_that_the_model_writes_is_no_item(pair):
    model, processor = pair
    nul = processor.tokenizer.convert_tokens_to_ids("<0x00>")
    others = [token for token in range(model.config.text_config.vocab_size) if token != nul]
    chat = Chat(model, processor, max_new_tokens=3, suppress_tokens=others)
    assert chat.say("hello?") == ""
    assert chat.say("and?") == ""


def test_the_pieces_that_are_shown_are_the_answer(pair):
    pieces = []
    said = Chat(*pair, max_new_tokens=20, **words_only(pair[1])).say("hello?", pieces.append)
    assert "".join(pieces).strip() == said
    assert len(pieces) > 1


def test_a_prompt_that_ends_inside_what_was_run_is_run_from_the_border_of_an_item(pair, monkeypatch):
    model, processor = pair
    monkeypatch.setattr(processor.template, "render", lambda turns, answer: [Span("a\x00")])
    watched = Watched(model, processor, monkeypatch)
    watched.chat.attach(picture())
    watched.chat.say("what?")
    watched.chat.say("and?")
    assert watched.answers[0] == watched.answers[1]
