"""Messages of pictures and text, and batches beside those of the messages."""

from __future__ import annotations

import torch


def asked(*contents, answer=None):
    messages = [{"role": "user", "content": content} for content in contents]
    return messages if answer is None else [*messages, {"role": "assistant", "content": answer}]


def picture(source=None):
    return {"type": "image"} if source is None else {"type": "image", "image": source}


def text(words):
    return {"type": "text", "text": words}


def equal(one, two):
    """Whether a batch is that of the messages; of several prompts, the items' tensors stand under their own names."""
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(one[name], two[name]), name
    named = {n: t for n, t in one.items() if n not in ("input_ids", "attention_mask", "mm_token_type_ids", "labels")}
    if "plan" in one:
        named = {name: tensor for tensors in one["items"].values() for name, tensor in tensors.items()}
        assert torch.equal(one["position_ids"], two["position_ids"])
    expected = {name: tensor for tensors in two.get("items", {}).values() for name, tensor in tensors.items()}
    assert named.keys() == expected.keys()
    for name, tensor in named.items():
        assert torch.equal(tensor, expected[name]), name
