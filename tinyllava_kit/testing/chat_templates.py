"""The contract of a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from ..core.conversation import ITEM, Span, Turn
from ..core.interfaces import ChatTemplate
from ..errors import KitError
from ..processing.jinja import jinja_of
from .comparing import refusal
from .contract import DoesNotApply, check
from .specified import SpecifiedContract
from .toys import toy_tokenizer

# End tokens of the families of LLMs that templates end a turn with.
_ENDS = ("<eos>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
_MARK = "<image>"
_ASK, _SAY = "Which {way} <b>?", "A *plain* answer: no. {2}"
_MORE, _LAST = "And why\tnot?", "For  two reasons."


class ChatTemplateContract(SpecifiedContract):
    """What holds for a chat template: it writes all turns, and marks the assistant's words and their end as learned."""

    kind = "template"
    takes_options: ClassVar[tuple[str, int] | None] = ("__init__", 1)
    # Why a question's words are left out, where they are.
    leaves_out_questions: ClassVar[str] = ""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One that the template suits. Default: a toy that has the end tokens of many families."""
        tokenizer = toy_tokenizer()
        tokenizer.add_special_tokens({"additional_special_tokens": list(_ENDS)})
        return tokenizer

    def build(self, **options: Any) -> ChatTemplate:
        """The template; `options` are others than the contract's."""
        template: ChatTemplate = self.component(self.tokenizer(), **{**self.given_options, **options})
        return template

    def rounds(self) -> list[list[Turn]]:
        """Conversations of one and two rounds, with a system turn and without, with items and without."""
        first = [Turn("user", f"{ITEM}{_ASK}"), Turn("assistant", _SAY)]
        second = [Turn("user", _MORE), Turn("assistant", _LAST)]
        two = [Turn("user", f"one {ITEM} and {ITEM}, two"), Turn("assistant", _SAY)]
        return [first, [*first, *second], two, [Turn("system", "Be brief."), *first], [Turn("user", ITEM), first[1]]]

    @check("render: learn=True for what the assistant said and the token that ends it, and for nothing else")
    def test_learned(self) -> None:
        """Each answer is learned, whole, with an end behind it; no word of anyone else is."""
        template = self.build()
        for turns in self.rounds():
            learned = [span.text for span in _joined(template.render(turns)) if span.learn]
            answers = [turn.text for turn in turns if turn.role == "assistant"]
            assert len(learned) == len(answers), f"{len(answers)} answers, and {len(learned)} parts are learned"
            for text, answer in zip(learned, answers, strict=True):
                before, found, behind = text.partition(answer)
                assert found, f"the answer {answer!r} is not learned whole: {text!r}"
                assert not before.strip(), f"{before!r} is learned before the answer {answer!r}"
                assert behind, f"nothing is learned behind the answer {answer!r}; the model would not stop"
                for turn in turns:
                    other = turn.text.replace(ITEM, "").strip()
                    assert turn.role == "assistant" or not other or other not in text, f"{other!r} is learned"

    @check("render: write every turn's text, whole and in order")
    def test_whole(self) -> None:
        """The text holds every turn, letter by letter, in order."""
        template = self.build()
        for turns in self.rounds():
            text, at = "".join(span.text for span in template.render(turns)), 0
            for turn in turns:
                if self.leaves_out_questions and turn.role != "assistant":
                    continue
                for words in filter(None, (each.strip() for each in turn.text.split(ITEM))):
                    found = text.find(words, at)
                    assert found >= 0, f"{words!r} of a {turn.role} turn is not in its place in {text!r}"
                    at = found + len(words)

    @check("render: each item once, as the character ITEM, in its order")
    def test_items(self) -> None:
        """No item is lost, doubled or learned."""
        template = self.build()
        for turns in self.rounds():
            spans = template.render(turns)
            expected = sum(turn.text.count(ITEM) for turn in turns)
            got = sum(span.text.count(ITEM) for span in spans)
            assert got == expected, f"{expected} items, {got} in the text"
            assert not any(ITEM in span.text for span in spans if span.learn), "an item of a question is learned"

    @check("render: with answer=True the text ends where the learned part of the answer begins")
    def test_answer(self) -> None:
        """A model is asked with the text that stood in front of what it learned, to the letter."""
        template = self.build()
        for turns in self.rounds():
            for end in (number for number, turn in enumerate(turns) if turn.role == "assistant"):
                asked = "".join(span.text for span in template.render(turns[:end], answer=True))
                learned = _joined(template.render(turns[: end + 1]))
                assert learned[-1].learn, "text after the answer is not learned"
                before = "".join(span.text for span in learned[:-1])
                assert asked == before, f"asked with {asked!r}, learned behind {before!r}"
                assert not any(span.learn for span in template.render(turns[:end], answer=True)[-1:]), "is learned"

    @check("render: a turn's text may not depend on the turns behind it")
    def test_rounds(self) -> None:
        """The text of a first round is the beginning of the text of two."""
        template = self.build()
        first, both = self.rounds()[:2]
        short, long = ("".join(span.text for span in template.render(turns)) for turns in (first, both))
        assert long.startswith(short), f"{long!r} does not begin with {short!r}"

    @check("render: keep nothing from one conversation to the next, and do not change the turns")
    def test_stateless(self) -> None:
        """The same turns give the same spans, whatever was rendered before."""
        template = self.build()
        alone = [self.build().render(turns) for turns in self.rounds()]
        for turns, expected in reversed(list(zip(self.rounds(), alone, strict=True))):
            given = list(turns)
            assert list(template.render(given)) == list(expected), "the same turns give other spans behind others"
            assert given == turns, "the turns are changed"

    @check("render: end an answer with the token that ends generation, the tokenizer's or the template's own")
    def test_end(self) -> None:
        """What ends an answer is a token of the tokenizer, or a line break."""
        template, tokenizer = self.build(), self.tokenizer()
        turns = self.rounds()[0]
        (learned,) = [span.text for span in _joined(template.render(turns)) if span.learn]
        behind = learned.partition(turns[-1].text)[2]
        ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
        special = set(tokenizer.all_special_ids)
        assert behind.isspace() or special & set(ids), f"{behind!r} ends an answer, and is no token that ends one"

    @check("jinja: the same text as render, for messages with placeholders; or None")
    def test_jinja(self) -> None:
        """Other programs write the same text."""
        template, tokenizer = self.build(), self.tokenizer()
        if template.jinja() is None:
            raise DoesNotApply("it has no form in jinja")
        jinja = jinja_of(template, {"image": _MARK}, parts=False, in_strings=True)
        for turns in self.rounds():
            for given, answer in ((turns, False), (turns[:-1], True)):
                messages = [{"role": turn.role, "content": turn.text.replace(ITEM, _MARK)} for turn in given]
                got = tokenizer.apply_chat_template(
                    messages, chat_template=jinja, tokenize=False, add_generation_prompt=answer
                )
                expected = "".join(span.text for span in template.render(given, answer=answer)).replace(ITEM, _MARK)
                assert got == expected, f"jinja writes {got!r}, render {expected!r}"

    @check("render: raise a KitError of one line for roles in an order that it cannot write")
    def test_refused(self) -> None:
        """Odd orders are written or refused; nothing else is raised."""
        template = self.build()
        user, assistant = Turn("user", "Hi."), Turn("assistant", "Ho.")
        for turns in ([], [assistant], [user, user], [user, assistant, assistant], [assistant, user]):
            for answer in (False, True):
                message = refusal(lambda t=turns, a=answer: template.render(t, answer=a))
                assert "\n" not in message, f"more than one line: {message}"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """The spans of every conversation, and the form in jinja."""
        template = self.component(self.tokenizer(), **options)
        return [[_plain(template.render(turns)) for turns in self.rounds()], template.jinja()]


def _plain(spans: Sequence[Span]) -> list[tuple[str, bool]]:
    return [(span.text, span.learn) for span in spans]


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The spans without empty ones; neighbours that are both learned, or both not, are one."""
    joined: list[Span] = []
    for span in spans:
        if not span.text:
            continue
        if joined and joined[-1].learn == span.learn:
            joined[-1] = Span(joined[-1].text + span.text, learn=span.learn)
        else:
            joined.append(span)
    if not joined:
        raise KitError("the template writes nothing")
    return joined
