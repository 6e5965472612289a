"""The Vicuna prompt beyond what the golden cases show."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tinyllava_kit.components.templates.plugin import tinyllava_chat_templates
from tinyllava_kit.components.templates.vicuna import SYSTEM, Llama, Phi, Vicuna
from tinyllava_kit.core.conversation import ITEM, Turn
from tinyllava_kit.core.interfaces import ChatTemplate
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.specs import load

TOKENIZERS = Path(__file__).parents[2] / "golden" / "data" / "tokenizers"
USER, ASSISTANT = Turn("user", "what?"), Turn("assistant", "a cat")


@pytest.fixture(scope="module")
def phi():
    return AutoTokenizer.from_pretrained(TOKENIZERS / "phi")


def written(template, *turns, answer=False):
    return "".join(span.text for span in template.render(turns, answer=answer))


@pytest.mark.parametrize("spec", tinyllava_chat_templates(), ids=lambda spec: spec.name)
def test_every_offered_template_can_be_imported(spec):
    assert issubclass(load(spec), ChatTemplate)


def test_a_system_turn_takes_the_place_of_the_standing_text(phi):
    assert written(Phi(phi), Turn("system", "Be brief."), USER, answer=True) == "Be brief. USER: what? ASSISTANT:"
    assert written(Phi(phi), USER, answer=True) == f"{SYSTEM} USER: what? ASSISTANT:"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"what is {ITEM} here? ", f"{ITEM}\nwhat is  here?"),
        (ITEM, ITEM),
        (f"{ITEM} or {ITEM} ?", f"{ITEM} or {ITEM} ?"),
        (" what? ", " what? "),
    ],
)
def test_the_only_item_of_a_question_comes_first_and_several_stay(phi, said, expected):
    assert written(Phi(phi), Turn("user", said), answer=True) == f"{SYSTEM} USER: {expected} ASSISTANT:"


def test_an_item_in_an_answer_stays(phi):
    spans = Phi(phi).render([USER, Turn("assistant", f"see {ITEM} here")])
    assert [span.text for span in spans if span.learn] == [f" see {ITEM} here<|endoftext|>"]


def test_vicuna_ends_a_turn_with_the_tokenizers_own_end_token(phi):
    assert written(Vicuna(phi), USER, ASSISTANT).endswith(" ASSISTANT: a cat<|endoftext|>")


def test_an_end_token_that_the_tokenizer_does_not_know_is_refused_with_the_template_that_fits(phi):
    with pytest.raises(KitError, match=r"'</s>', which is not one token.*'<\|endoftext\|>'\); choose --template phi"):
        Llama(phi)


@pytest.mark.parametrize(
    "turns", [(USER, USER), (USER, ASSISTANT, ASSISTANT), (USER, Turn("system", "Be brief."))], ids=len
)
def test_an_order_that_the_prompt_has_no_place_for_is_refused(phi, turns):
    order = ", ".join(turn.role for turn in turns)
    with pytest.raises(KitError, match=f"user and assistant in turn, got {order}; choose --template auto"):
        Phi(phi).render(turns)


def test_nothing_to_answer_is_refused(phi):
    with pytest.raises(KitError, match="no question to answer: the last turn must be a user's"):
        Phi(phi).render([USER, ASSISTANT], answer=True)
