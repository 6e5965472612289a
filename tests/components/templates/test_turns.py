"""The order of turns: what is left out, what is refused; also in jinja, which other programs render."""

from __future__ import annotations

import pytest
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tinyllava_kit.components.templates.turns import ALTERNATE, alternate, asked
from tinyllava_kit.core.conversation import ITEM, Turn
from tinyllava_kit.errors import KitError

ROLES = {"s": "system", "u": "user", "a": "assistant"}


def turns(order):
    return [Turn(ROLES[each], f"{each}{number}") for number, each in enumerate(order)]


@pytest.mark.parametrize(
    ("order", "kept"), [("uaua", "uaua"), ("aua", "ua"), ("aaua", "ua"), ("saua", "sua"), ("u", "u"), ("suau", "suau")]
)
def test_answers_before_the_first_question_are_left_out(order, kept):
    assert "".join(turn.role[0] for turn in asked(turns(order), answer=False)) == kept


def test_an_item_in_such_an_answer_is_refused():
    with pytest.raises(KitError, match="before the first question holds an item; begin with a user's turn"):
        asked([Turn("assistant", ITEM), *turns("ua")], answer=False)


@pytest.mark.parametrize(("order", "answer"), [("", False), ("a", False), ("ua", True), ("s", True)])
def test_nothing_to_answer_is_refused(order, answer):
    with pytest.raises(KitError, match="there is no question to answer: the last turn must be a user's"):
        asked(turns(order), answer=answer)


def test_the_system_turn_is_taken_out():
    system, rest = alternate(turns("suau"), answer=True)
    assert ([turn.text for turn in system], [turn.text for turn in rest]) == (["s0"], ["u1", "a2", "u3"])
    assert alternate(turns("ua"), answer=False)[0] == []


@pytest.mark.parametrize("order", ["uu", "uaa", "usu", "sus", "uaus"])
def test_another_order_is_refused_with_what_it_is(order):
    said = ", ".join(ROLES[each] for each in order)
    with pytest.raises(KitError, match=f"writes user and assistant in turn, got {said}; choose --template auto"):
        alternate(turns(order), answer=False)


def rendered(order, answer):
    """The order that the same in jinja lets through; None where it refuses."""

    def refuse(message):
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment()
    environment.globals["raise_exception"] = refuse
    source = ALTERNATE + "{% if system %}S{% endif %}{% for message in messages %}{{ message.role[0] }}{% endfor %}"
    messages = [{"role": ROLES[each], "content": "x"} for each in order]
    try:
        return environment.from_string(source).render(messages=messages, add_generation_prompt=answer)
    except TemplateError:
        return None


@pytest.mark.parametrize("answer", [False, True])
@pytest.mark.parametrize("order", ["u", "ua", "uau", "su", "sua", "uu", "us", "s"])
def test_jinja_takes_and_refuses_the_same_orders(order, answer):
    def ours():
        system, rest = alternate(turns(order), answer=answer)
        return "S" * len(system) + "".join(turn.role[0] for turn in rest)

    found = rendered(order, answer)
    if found is None:
        with pytest.raises(KitError, match="turn"):
            ours()
    else:
        assert found == ours()
