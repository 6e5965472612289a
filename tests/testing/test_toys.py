"""The toy LLM and tokenizer for tests of plugins: complete, without any file, and usable by the public ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import toys
from tinyllava_kit import answer, assemble, question
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.testing import save_toy_llm, toy_tokenizer


@pytest.mark.parametrize("text", ["plain", "two\nlines\t", "Grüße, 世界 🎈", "<s> is text with </s> in it", ""])
def test_the_tokenizer_loses_nothing_and_has_an_id_for_each_byte(text: str) -> None:
    tokenizer = toy_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    if "<" not in text:
        assert len(ids) == len(text.encode())
    assert len(tokenizer) == 259
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_the_llm_becomes_part_of_a_model_that_learns_and_answers(tmp_path: Path) -> None:
    model, processor = assemble(toys.picture_assembly(save_toy_llm(tmp_path / "llm", hidden=40)))
    names = toys.save_pictures(tmp_path, 1)
    said = [{"role": "assistant", "content": "red"}]
    asked = question("<image> what?", [Item("image", str(tmp_path / names[0]))], processor)
    assert len(answer(model, processor, [asked], max_new_tokens=3)) == 1
    labels = processor([[{"role": "user", "content": "what?"}, *said]], labels=True)["labels"]
    assert processor.tokenizer.decode(labels[labels >= 0]) == "red</s>"
    assert model.config.text_config.hidden_size == 40
