"""Items: what tells them from others, and whose row a mistake is in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyllava_kit.core.conversation import Item, naming
from tinyllava_kit.errors import KitError


def test_items_of_one_file_have_one_key_and_others_their_own() -> None:
    array = np.zeros(3)
    same = [Item("image", "a.png"), Item("image", Path("a.png")), Item("image", "a.png", text="a", name="row 1")]
    assert len({item.key for item in same}) == 1
    assert Item("image", array).key == Item("image", array, name="row").key
    others = [Item("audio", "a.png"), Item("image", "b.png"), Item("image", array), Item("image", np.zeros(3))]
    assert len({item.key for item in [same[0], *others]}) == 5


def test_what_is_wrong_with_an_item_names_its_row_once() -> None:
    error, item = KitError("is damaged"), Item("image", "a", name="rows.json[3]")
    with pytest.raises(KitError, match=r"^rows\.json\[3\]: is damaged$") as named, naming(item):
        raise error
    assert named.value.__cause__ is error
    with pytest.raises(KitError, match=r"^is damaged$"), naming(Item("image", "a")):
        raise error
    with pytest.raises(ZeroDivisionError), naming(item):
        raise ZeroDivisionError
