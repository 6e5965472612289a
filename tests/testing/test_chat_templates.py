"""Chat templates that are wrong in one way each, and the check of the contract that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.testing.right import caught, changed, offered, passes, table
from tinyllava_kit import KitError
from tinyllava_kit.interfaces import ITEM, ChatTemplate, Span, Turn
from tinyllava_kit.plugin.specs import ChatTemplateSpec, Option
from tinyllava_kit.testing import ChatTemplateContract

JINJA = (
    "{% for m in messages %}{% if loop.first and system %}{{ system }}{% endif %}"
    "{{ m.role + ': ' + m.content + ('</s>' if m.role == 'assistant' else '\n') }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


class Lines(ChatTemplate):
    """role: what it says."""

    def __init__(self, tokenizer: Any, *, loud: bool = False) -> None:
        super().__init__(tokenizer)
        self.loud = loud

    def render(self, turns: Sequence[Turn], *, answer: bool = False) -> list[Span]:
        if not turns:
            raise KitError("there is nothing to write")
        spans = []
        for turn in turns:
            spans += self.turn(turn)
        return [*spans, Span(self.prompt())] if answer else spans

    def turn(self, turn: Turn) -> list[Span]:
        if turn.role == "assistant":
            return [Span(self.prompt()), Span(f" {turn.text}</s>", learn=True)]
        return [Span(f"{turn.role}: {turn.text}\n")]

    def prompt(self) -> str:
        return "ASSISTANT:" if self.loud else "assistant:"

    def jinja(self) -> str | None:
        return JINJA.replace("assistant:", self.prompt())


LINES = ChatTemplateSpec(
    name="lines", target=f"{__name__}:Lines", options=(Option(name="loud", type=bool, default=False),)
)


class LinesContract(ChatTemplateContract):
    component = Lines
    spec = LINES
    catalog = offered(LINES)


def contract_of(template: type[ChatTemplate] = Lines) -> LinesContract:
    contract = LinesContract()
    contract.component = template
    return contract


def answers(*spans: Any) -> type[ChatTemplate]:
    """An answer is written as these spans, of texts with {prompt} and {text}, and whether each is learned."""

    def turn(self: Lines, turn: Turn) -> list[Span]:
        if turn.role != "assistant":
            return Lines.turn(self, turn)
        return [Span(s.format(prompt=self.prompt(), text=turn.text), learn=learn) for s, learn in spans]

    return changed(Lines, turn=turn)


def questions(write: Any) -> type[ChatTemplate]:
    def turn(self: Lines, turn: Turn) -> list[Span]:
        return Lines.turn(self, turn) if turn.role == "assistant" else write(turn)

    return changed(Lines, turn=turn)


def rendered(change: Any) -> type[ChatTemplate]:
    def render(self: Lines, turns: Sequence[Turn], *, answer: bool = False) -> list[Span]:
        return change(self, turns, answer)

    return changed(Lines, render=render)


def counting(self: Any, turns: Sequence[Turn], answer: bool) -> list[Span]:
    self.calls = getattr(self, "calls", 0) + 1
    return [Span(f"[{self.calls}]"), *Lines.render(self, turns, answer=answer)]


def consuming(self: Any, turns: Any, answer: bool) -> list[Span]:
    spans = Lines.render(self, turns, answer=answer)
    turns.clear()
    return spans


def numbering(self: Any, turns: Sequence[Turn], answer: bool) -> list[Span]:
    return [Span(f"{len(turns)} turns. "), *Lines.render(self, turns, answer=answer)]


def swapped(self: Any, turns: Sequence[Turn], answer: bool) -> list[Span]:
    return Lines.render(self, [*turns[2:], *turns[:2]] if len(turns) > 3 else turns, answer=answer)


def asks_otherwise(self: Any, turns: Sequence[Turn], answer: bool) -> list[Span]:
    spans = Lines.render(self, turns, answer=answer)
    return [*spans[:-1], Span("assistant: ")] if answer else spans


def raises(self: Any, turns: Sequence[Turn], answer: bool) -> list[Span]:
    if turns[0].role == "assistant":
        raise IndexError("an answer in front")
    return Lines.render(self, turns, answer=answer)


def forgets_the_prompt(self: Any, turns: Sequence[Turn], answer: bool) -> list[Span]:
    return Lines.render(self, turns)


def without_the_first_item(turn: Turn) -> list[Span]:
    return [Span(f"{turn.role}: {turn.text.replace(ITEM, '', 1)}\n")]


MUTANTS: list[tuple[str, type[ChatTemplate], str, str]] = [
    ("labels shifted to the left", answers(("{prompt} {text}", True), ("</s>", False)), "learned", "is learned before"),
    ("labels shifted to the right", answers(("{prompt} {text}", False), ("</s>", True)), "learned", "not learned wh"),
    ("labels that begin a letter late", answers(("{prompt} A", False), ("{text}</s>", True)), "answer", "asked with"),
    ("the prompt learned", answers(("{prompt} {text}</s>", True)), "learned", "is learned before the answer"),
    ("the end not learned", answers(("{prompt}", False), (" {text}", True), ("</s>", False)), "learned", "nothing"),
    ("an end that is no token", answers(("{prompt}", False), (" {text}.", True)), "end", "no token that ends one"),
    ("an answer without its text", answers(("{prompt}", False), (" </s>", True)), "learned", "not learned whole"),
    ("nothing learned", answers(("{prompt} {text}</s>", False)), "learned", "0 parts are learned"),
    ("the question learned", questions(lambda turn: [Span(turn.text, learn=True)]), "learned", "learned"),
    ("a question in small letters", questions(lambda turn: [Span(turn.text.lower())]), "whole", "not in its place"),
    ("spaces collapsed", questions(lambda turn: [Span(" ".join(turn.text.split()))]), "whole", "not in its place"),
    ("an item lost", questions(without_the_first_item), "items", "1 items, 0 in the text"),
    ("an item doubled", questions(lambda t: [Span(t.text.replace(ITEM, 2 * ITEM))]), "items", "1 items, 2 in the text"),
    ("turns in another order", rendered(swapped), "whole", "not in its place"),
    ("the text depends on what follows", rendered(numbering), "rounds", "does not begin with"),
    ("asked with a space more", rendered(asks_otherwise), "answer", "asked with"),
    ("asked without the prompt", rendered(forgets_the_prompt), "answer", "asked with"),
    ("state from one to the next", rendered(counting), "stateless", "other spans behind others"),
    ("the turns are used up", rendered(consuming), "stateless", "the turns are changed"),
    ("a raw error", rendered(raises), "refused", "raised IndexError"),
    ("another text in jinja", changed(Lines, jinja=lambda self: JINJA.replace(": '", ":'")), "jinja", "jinja writes"),
    ("no prompt in jinja", changed(Lines, jinja=lambda self: JINJA.replace("assistant:", "")), "jinja", "jinja writes"),
    ("an option that is ignored", changed(Lines, prompt=lambda self: "assistant:"), "options", "'loud' changes"),
]


def test_the_right_template_passes_every_check() -> None:
    assert passes(contract_of()) == {}


@table(MUTANTS)
def test_a_mutant_of_the_template_is_caught(mutant: Any, check: str, message: str) -> None:
    caught(contract_of(mutant), check.partition("|")[0], message)
