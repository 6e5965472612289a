"""Controls: what they take away, what they leave, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyllava_kit.core.conversation import ITEM, Conversation, Item, Turn
from tinyllava_kit.core.interfaces import Modality
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.controls import CONTROLS, controlled


class Words(Modality):
    """Items are pairs (what was read, how large it is)."""

    def read(self, source):
        return source if isinstance(source, tuple) else (source, len(source))

    def blank(self, item):
        return ("", item[1])


class Loud(Modality):
    def read(self, source):
        return source


def row(*items: Item, text: str | None = None, name: str = "row") -> Conversation:
    asked = ITEM * len(items) + "what?" if text is None else text
    return Conversation((Turn("user", asked), Turn("assistant", "that")), items, name)


def run(conversations, control, **options):
    return list(controlled(conversations, control, {"alpha": Words(), "beta": Loud()}, **options))


rows = st.lists(
    st.lists(st.builds(Item, st.sampled_from(["alpha", "beta"]), st.sampled_from("abcdefg")), max_size=3).map(
        lambda items: row(*items)
    ),
    min_size=1,
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # how busy the machine is, is not what is tested
@given(rows)
def test_as_given_changes_nothing(conversations):
    assert run(conversations, "as given") == conversations


@given(rows)
def test_without_items_no_item_and_no_place_for_one_is_left(conversations):
    for before, after in zip(conversations, run(conversations, "without items"), strict=True):
        assert after.items == ()
        assert [turn.text for turn in after.turns] == ["what?", "that"]
        assert after.name == before.name


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{ITEM}\nwhat?", "what?"),
        (f"what?\n{ITEM}", "what?"),
        (f"this\n{ITEM}\nwhat?", "this\nwhat?"),
        (f"{ITEM}{ITEM}\n\nwhat?", "\nwhat?"),
        (f"from {ITEM} to {ITEM}?", "from  to ?"),
    ],
)
def test_a_line_of_nothing_but_an_item_goes_with_it(text, left):
    items = [Item("alpha", "a")] * text.count(ITEM)
    (after,) = run([row(*items, text=text)], "without items")
    assert after.turns[0].text == left


@given(st.integers(0, 99), st.integers(1, 5), st.data())
def test_shuffled_items_are_others_of_the_same_modality_in_the_same_places(seed, spare, data):
    conversations = data.draw(rows) + [row(Item(m, f"{m}{n}")) for m in ("alpha", "beta") for n in range(spare + 3)]
    for before, after in zip(conversations, run(conversations, "shuffled items", seed=seed), strict=True):
        assert after.turns == before.turns
        assert [item.modality for item in after.items] == [item.modality for item in before.items]
        own = {(item.modality, item.source) for item in before.items}
        assert not own & {(item.modality, item.source) for item in after.items}


@given(st.integers(0, 99), st.integers(2, 9))
def test_rows_with_one_item_each_exchange_them_one_to_one(seed, count):
    conversations = [row(Item("alpha", str(n))) for n in range(count)]
    after = run(conversations, "shuffled items", seed=seed)
    assert sorted(c.items[0].source for c in after) == sorted(c.items[0].source for c in conversations)


def test_the_shuffle_is_that_of_its_seed():
    conversations = [row(Item("alpha", str(n))) for n in range(11)]
    assert run(conversations, "shuffled items", seed=3) == run(conversations, "shuffled items", seed=3)
    assert run(conversations, "shuffled items", seed=3) != run(conversations, "shuffled items", seed=4)


def test_sources_that_are_no_names_are_themselves_and_never_compared():
    sources = [np.zeros(3), np.zeros(3), (np.zeros(2), 8000), Path("a"), "a"]
    after = run([row(Item("alpha", source)) for source in sources], "shuffled items")
    for source, conversation in zip(sources, after, strict=True):
        assert conversation.items[0].source is not source
    name = [str(c.items[0].source) for c in after[-2:]]
    assert "a" not in name  # a path and its name are one file


def test_an_item_that_has_no_other_names_its_row_and_modality():
    conversations = [row(Item("alpha", "a")), row(Item("alpha", "b")), row(Item("beta", "a"), name="rows.json[2]")]
    with pytest.raises(KitError, match=r"rows\.json\[2\]: the data have no other beta item.*give rows with"):
        run(conversations, "shuffled items")


def test_blank_items_say_nothing_and_are_as_large():
    conversations = [row(Item("alpha", "abc"), Item("alpha", "de")), row()]
    after = run(conversations, "blank items")
    assert after[0].items == (Item("alpha", ("", 3)), Item("alpha", ("", 2)))
    assert [c.turns for c in after] == [c.turns for c in conversations]
    assert after[1] == conversations[1]


def test_the_modality_reads_its_blank_item_again():
    (after,) = run([row(Item("alpha", "abc"))], "blank items")
    assert Words().read(after.items[0].source) == ("", 3)


def test_a_modality_without_a_blank_item_says_so():
    with pytest.raises(KitError, match="Loud has no blank item"):
        run([row(Item("beta", "a"))], "blank items")


def test_blank_items_are_made_one_conversation_at_a_time():
    made = controlled([row(Item("alpha", "abc")), row(Item("beta", "a"))], "blank items", {"alpha": Words()})
    assert next(made).items == (Item("alpha", ("", 3)),)


def test_an_unknown_control_names_the_near_one():
    with pytest.raises(KitError, match="unknown control 'blank item'; did you mean 'blank items'"):
        run([], "blank item")


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_takes_rows_without_items(control):
    assert run([row(), row()], control) == [row(), row()]
