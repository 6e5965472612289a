"""Under which names rows and parts of messages hold items."""

from __future__ import annotations

from tinyllava_kit.files.item_names import columns_of, part_keys, part_types


def test_a_column_is_a_modality_or_its_plural() -> None:
    assert columns_of(["image", "audio"]) == {
        "image": "image",
        "images": "image",
        "audio": "audio",
        "audios": "audio",
    }
    assert columns_of([]) == {}


def test_a_part_may_have_the_types_and_the_keys_of_openai() -> None:
    assert part_types(["image"]) == {"image": "image", "image_url": "image", "input_image": "image"}
    assert part_types([]) == {}
    keys = part_keys("image")
    assert keys[:3] == ("image", "image_url", "input_image")
    assert {"path", "url", "base64", "source"} == set(keys[3:])
