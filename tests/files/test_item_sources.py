"""Where the items of a row come from: columns, parts of messages, content as text."""

from __future__ import annotations

import base64

import pytest

from tinyllava_kit.components.modalities.plugin import AUDIO, IMAGE
from tinyllava_kit.core.conversation import ITEM, Item, from_messages, from_row
from tinyllava_kit.errors import KitError
from tinyllava_kit.files.item_sources import is_name

MODALITIES = {"image": IMAGE, "audio": AUDIO}
CONTENT = bytes(range(256))
TEXT = base64.b64encode(CONTENT).decode()
URL_SAFE = base64.urlsafe_b64encode(CONTENT).decode()  # which has - and _


def user(*parts):
    return [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "a cat"}]


def said(row):
    made = from_row(row, MODALITIES, name="f[3]")
    return next(turn.text for turn in made.turns), [(item.modality, item.source) for item in made.items]


PICTURE = {"type": "image"}


@pytest.mark.parametrize(
    ("row", "text", "items"),
    [
        ({"image": "a", "messages": [{"role": "user", "content": "see <image>?"}]}, "see \0?", ["a"]),
        ({"images": ["a", "b"], "messages": user("<image>x", "<image>")}, "\0x\0", ["a", "b"]),
        (
            {"images": ["a", "b"], "messages": user(PICTURE, {"type": "text", "text": "x"}, PICTURE)},
            "\0x\0",
            ["a", "b"],
        ),
        (
            {"images": ["a", "b"], "messages": user({"type": "image", "index": 1}, {"type": "image", "index": 0})},
            "\0\0",
            ["b", "a"],
        ),
        ({"images": ["a"], "messages": user({"type": "image", "index": None, "text": None}, "x")}, "\0x", ["a"]),
        ({"images": ["b"], "messages": user({"type": "image", "image": "a"}, PICTURE)}, "\0\0", ["a", "b"]),
        ({"images": [], "messages": user("x")}, "x", []),
        ({"image": None, "images": float("nan"), "messages": user("x")}, "x", []),
        ({"image": "", "messages": user("x")}, "x", []),
        ({"image": None, "messages": user("the tag <image>")}, "the tag <image>", []),
        ({"images": ["a"], "conversations": [{"from": "human", "value": "<image>x"}]}, "\0x", ["a"]),
    ],
)
def test_items_of_columns_stand_in_the_text_in_order(row, text, items):
    assert said(row) == (text.replace("\0", ITEM), [("image", item) for item in items])


def test_each_modality_has_its_own_order():
    row = {"images": ["a", "b"], "audios": ["s"], "messages": user("<image><audio><image>")}
    assert said(row)[1] == [("image", "a"), ("audio", "s"), ("image", "b")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a", "messages": user("what is it?")}, r"f\[3\]: the text has 0 <image> and the row names 1 image"),
        ({"image": "a", "conversations": [{"from": "human", "value": "x"}]}, "the text has 0 <image>"),
        ({"images": ["a"], "messages": user("<image><image>")}, "the text has 2 <image> and the row names 1 image"),
        ({"images": [], "messages": user("<image>")}, "the text has 1 <image> and the row names 0 image"),
        ({"images": ["a", "b"], "messages": user({"type": "image", "index": 0}, {"type": "image", "index": 0})}, "f"),
        ({"image": "a", "images": ["a"], "messages": user("<image>")}, "has both 'image' and 'images'; give one"),
        ({"id": 7, "audios": ["s"], "messages": user("x")}, r"f\[3\] 7: the text has 0 <audio>"),
        ({"messages": user(PICTURE)}, "a part of type 'image' names no source"),
        ({"messages": user({"type": ["image"]})}, r"message 0: part of type \['image'\]"),
        (
            {"messages": user("hi \ud83d there")},
            r"message 0: holds '\\ud83d', half of a character, at 'hi \\ud83d there'",
        ),
        ({"conversations": [{"from": "human", "value": "\udfff"}]}, r"turn 0: holds '\\udfff', half of a character"),
        ({"messages": user({"type": "image", "image": "a", "text": "\ud800"})}, "half of a character"),
        (
            {"messages": user({"type": "input_audio", "input_audio": {"data": "?"}})},
            r"message 0: '\?'\.\.\. is not base64",
        ),
        ({"image": "data:image/png;base64,?", "messages": user("<image>")}, "is not base64"),
        ({"messages": [[["a"] * 10_000]]}, "expected a list of mappings"),
    ],
)
def test_what_nothing_takes_or_nobody_reads_is_refused_by_name(row, message):
    with pytest.raises(KitError, match=message) as error:
        said(row)
    assert len(str(error.value)) < 500
    str(error.value).encode()


def test_an_item_that_the_model_does_not_read_is_refused_by_name():
    row = {"id": 4, "audios": ["a.wav"], "messages": user("hi")}
    with pytest.raises(KitError, match=r"f\[3\] 4: column 'audios': the model does not read 'audio'; it reads image"):
        from_row(row, {"image": IMAGE}, name="f[3]", unread=["audio"])
    assert not from_row({**row, "audios": []}, {"image": IMAGE}, unread=["audio"]).items


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": f"data:image/png;base64,{TEXT}"},
        {"type": "image", "url": f"data:image/png;base64,{TEXT}"},
        {"type": "image", "image": TEXT},
        {"type": "image", "base64": TEXT},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}", "detail": "low"}},
        {"type": "image_url", "image_url": f"DATA:image/png;BASE64,{TEXT}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}},
        {"type": "input_audio", "input_audio": {"data": TEXT, "format": "wav"}},
        {"type": "image", "image": URL_SAFE},
        {"type": "image", "image": URL_SAFE.rstrip("=")},
        {"type": "image", "source": {"type": "base64", "data": URL_SAFE}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{URL_SAFE.rstrip('=')}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{TEXT.rstrip('=')}"},
        {"type": "input_audio", "input_audio": {"data": URL_SAFE, "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{TEXT}"}},
        {"type": "audio", "audio": "data:audio/wav," + "".join(f"%{byte:02x}" for byte in CONTENT)},
    ],
)
def test_content_that_is_written_as_text_is_bytes(part):
    (item,) = from_messages(user(part), MODALITIES).items
    assert item == Item("audio" if "audio" in part["type"] else "image", CONTENT)


def test_columns_hold_content_as_text_too():
    assert said({"image": TEXT, "messages": user("<image>")})[1] == [("image", CONTENT)]
    wrapped = base64.encodebytes(CONTENT).decode()
    assert said({"image": wrapped, "messages": user("<image>")})[1] == [("image", CONTENT)]
    file = {"bytes": TEXT, "path": "a.png"}
    assert said({"image": file, "messages": user("<image>")})[1] == [("image", {"bytes": CONTENT, "path": "a.png"})]


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "b/" * 60,
        "0123456789abcdef" * 8,
        "x" * 100 + ".jpg",
        "C:\\a.png",
        "ab" * 20,
        "a-long_name-" * 9,
        "IMG-2024_" * 11,
    ],
)
def test_a_name_is_no_content(name):
    assert is_name(name)
    assert said({"image": name, "messages": user("<image>")})[1] == [("image", name)]


@pytest.mark.parametrize(
    "source", ["https://x.org/a.png", "file:///a.png", "s3://b/a", "data:,x", TEXT, URL_SAFE, b"x", None]
)
def test_what_is_no_name_is_not(source):
    assert not is_name(source)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"video": "x.mp4", "messages": user("<video>what?")},
            "column 'video' with <video>: the model does not read 'video'",
        ),
        (
            {
                "videos": ["x.mp4"],
                "conversations": [{"from": "human", "value": "<video>?"}, {"from": "gpt", "value": "a"}],
            },
            "column 'videos' with <video>: the model does not read 'video'",
        ),
        ({"messages": user({"type": "text", "text": "x", "image": "a"})}, "a part of type 'text' has 'image', too"),
        ({"messages": user({"type": "image", "image": "a", "url": "b"})}, "names 2 sources; give each a part"),
        ({"images": ["a"], "messages": user({"type": "image", "index": "0"})}, "index '0'; the row names 1 image"),
        ({"images": ["a"], "messages": user({"type": "image", "index": 5})}, "index 5; the row names 1 image"),
        ({"images": ["a"], "messages": user({"type": "image", "index": True})}, "index True; the row names 1 image"),
    ],
)
def test_no_item_is_left_out_without_a_word(row, message):
    with pytest.raises(KitError, match=message):
        from_row(row, MODALITIES, name="f[3]")


def test_columns_that_are_no_items_and_absent_keys_are_left_alone():
    row = {"source": "coco", "split": ["a"], "images": ["a"], "messages": user({"type": "image", "index": 0.0}, "x")}
    assert said(row) == ("\0x", [("image", "a")])
    text = {"type": "text", "text": "x", "image": None, "index": None}
    assert said({"images": ["a"], "messages": user(PICTURE, text)}) == ("\0x", [("image", "a")])


ASKED = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}
CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
TOLD = {"conversations": [{"from": "system", "value": "Be brief."}, *ASKED["conversations"]]}
CHAT_TOLD = {"messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]}


@pytest.mark.parametrize("row", [ASKED, CHAT, TOLD, CHAT_TOLD])
def test_a_column_for_the_system_is_the_first_turn(row):
    turns = from_row({**row, "system": "Be brief."}, MODALITIES).turns
    assert [(turn.role, turn.text) for turn in turns] == [("system", "Be brief."), ("user", "hi"), ("assistant", "ho")]


@pytest.mark.parametrize("none", [None, "", float("nan")])
def test_a_column_for_the_system_may_be_empty(none):
    assert from_row({**CHAT, "system": none}, MODALITIES) == from_row(CHAT, MODALITIES)
    assert from_row({**TOLD, "system": none}, MODALITIES) == from_row(TOLD, MODALITIES)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**TOLD, "system": "Be long."}, "its 'system' and its turn of the system say two things; give one of them"),
        ({**CHAT_TOLD, "system": "Be long."}, "its 'system' and its turn of the system say two"),
        ({**CHAT, "system": ["Be brief."]}, "'system': needs text, got list"),
    ],
)
def test_two_texts_for_the_system_are_refused(row, message):
    with pytest.raises(KitError, match=rf"f\[3\]: {message}"):
        from_row(row, MODALITIES, name="f[3]")


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_parts_of_text_have_the_names_of_both_interfaces(kind):
    said = [
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": kind, "text": "hi"}]},
        {"role": "assistant", "content": [{"type": kind, "text": "ho"}]},
    ]
    assert [turn.text for turn in from_messages(said, MODALITIES).turns] == [f"{ITEM}hi", "ho"]
    with pytest.raises(KitError, match=f"a part of type '{kind}' has 'image', too"):
        from_messages(user({"type": kind, "text": "x", "image": "a"}), MODALITIES)
