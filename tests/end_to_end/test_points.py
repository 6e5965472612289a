"""A model that draws a point at a position, where to beside how: all that is done with answers, with parallel ids."""

from __future__ import annotations

import json

import pytest
import torch

from tests.strokes import CORNER, LINE, drawing, drawing_model, drawn  # noqa: F401 (a fixture)
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor
from tinyllava_kit.features.item_codes import ItemCodes
from tinyllava_kit.inference.answering import question
from tinyllava_kit.inference.replies import replies, reply
from tinyllava_kit.inference.segments import GeneratedItem
from tinyllava_kit.testing import check_packing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawing")]

AT_ONCE = {"force": ["drawing"], "eos_token_id": list(range(320)), "max_new_tokens": 24}


@pytest.fixture
def made(tmp_path):
    return drawing_model(tmp_path, decoder="points")


def test_a_point_is_a_position(made):
    model, processor = made
    span = ItemCodes(model, processor)(processor.conversation(drawn("a line", LINE)).items[0])
    begin, end = processor.grammar.begin["drawing"], processor.grammar.end["drawing"]
    assert span.ids == span.labels == [begin, begin + 2, begin + 3, begin + 2, end]
    assert span.parallel == [[-1, -1], [0, 0], [6, 3], [3, 3], [-1, -1]]
    probed = processor.probe(processor.conversation(drawn("a line", LINE)))
    assert sum(len(each.ids) for each in probed.spans if each.parallel is None) == probed.num_tokens


def test_losses_and_gradients_are_the_same_in_packs(made):
    model, processor = made
    processor.writer = ItemCodes(model, processor)
    text = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    check_packing(model, processor, [drawn("a line", LINE), text, drawn("this is a corner", CORNER)])


def test_batches_without_an_item_have_the_same_groups_and_no_side_ids(made):
    model, processor = made
    batch = processor([[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]], labels=True)
    assert batch["plan"].parallel_ids is None
    assert list(batch["targets"]) == ["text", "drawing.move", "drawing.draw", "drawing.x", "drawing.y"]
    assert torch.isfinite(model(**batch).loss)


@pytest.mark.parametrize("seed", range(3))
def test_pieces_joined_are_what_is_decoded_at_once_and_a_batch_answers_as_each_alone(seed, tmp_path):
    model, processor = drawing_model(tmp_path, decoder="points", seed=seed)
    asked = [question(text, [], processor) for text in ("draw", "draw a much longer line", "hello")]
    history = processor.conversation([*drawn("a line", LINE), {"role": "user", "content": "again"}])
    together = replies(model, processor, [*asked, history], **AT_ONCE)
    for conversation, whole in zip([*asked, history], together, strict=True):
        shown = []
        assert reply(model, processor, conversation, shown.append, **AT_ONCE) == whole
        (item,) = whole.items("drawing")
        pieces = [part.item for part in shown if isinstance(part, GeneratedItem)]
        assert len(pieces) == sum(map(len, item.item))
        assert processor.modalities["drawing"].join(pieces) == item.item
    assert len({str(each.items("drawing")[0].item) for each in together}) > 1


def test_where_a_point_is_depends_on_where_those_before_it_were(made):
    """What stands beside an id is embedded when the next position is made."""
    model, processor = made
    other = [[(0.5, 0.5), (1.0, 0.5)], [(0.5, 0.5)]]
    said = []
    for before in (LINE, other):
        conversation = processor.conversation([*drawn("a line", before), {"role": "user", "content": "again"}])
        encoded = processor.encode(conversation, answer=True, writer=ItemCodes(model, processor))
        with torch.no_grad():
            said.append(model(**processor.collate([encoded])).logits[0, -1])
    assert not torch.allclose(*said, atol=1e-4)


def test_a_saved_model_has_its_sides_and_a_plugin_that_asks_for_others_is_refused(made, tmp_path, monkeypatch):
    model, processor = made
    for part in made:
        part.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["parallel_streams"] == {"drawing": [["x", 7], ["y", 7]]}
    again = TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    rows = "decoders.drawing.rows.head"
    assert torch.equal(again.state_dict()[rows], model.state_dict()[rows])
    assert again.state_dict()[rows].shape[0] == 4 + 14
    conversation = question("draw", [], processor)
    (said,) = replies(again, TinyLlavaProcessor.from_pretrained(tmp_path / "saved"), [conversation], **AT_ONCE)
    assert said.items("drawing")
    from tinyllava_kit_drawing.points import PointDecoder

    from tinyllava_kit.core.ids import ParallelStream

    monkeypatch.setattr(PointDecoder, "parallel", property(lambda self: {"x": ParallelStream(size=7, on=("move",))}))
    with pytest.raises(KitError, match=r"made with parallel ids \[\['x', 7\], \['y', 7\]\] for its decoder of 'dr"):
        TinyLlavaForConditionalGeneration.from_pretrained(tmp_path / "saved")


def test_ids_beside_others_are_found_again_in_a_folder(made, tmp_path):
    model, processor = made
    conversation = processor.conversation(drawn("a corner", CORNER))
    first, second = (ItemCodes(model, processor, tmp_path / "ids") for _ in range(2))
    assert (first.fill([conversation]), second.fill([conversation])) == (1, 0)
    span = second(conversation.items[0])
    assert span == first(conversation.items[0]) == ItemCodes(model, processor)(conversation.items[0])
    assert span.parallel[1] == [6, 6]
