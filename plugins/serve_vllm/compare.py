"""One picture, several questions: vLLM's ids beside the kit's, and how long both take. ``compare.py MODEL PICTURE``"""

from __future__ import annotations

import argparse
import time

import torch
from PIL import Image

from tinyllava_kit import KitError, load_pretrained, question
from tinyllava_kit.interfaces import Item

QUESTIONS = ("what is this?", "what color is it?", "describe the picture", "is there a person?") * 8
NEW = 32  # tokens of an answer


def main() -> None:
    """Answer the questions with both, and print whether the ids agree and how long each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("picture")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    with Image.open(given.picture) as opened:
        picture = opened.convert("RGB")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, processor = load_pretrained(given.model, dtype=given.dtype)
    model.to(device).eval()
    model.generation_config.eos_token_id = None
    asked = [question(text, [Item("image", picture)], processor) for text in QUESTIONS]
    began = time.perf_counter()
    expected = [_kits(model, processor, each) for each in asked[:4]]
    alone = (time.perf_counter() - began) / 4
    prompts = [processor.prompt(each, answer=True) for each in asked]
    del model
    torch.cuda.empty_cache()
    got, seconds = _vllms(given, prompts, picture)
    same = sum(a == b for a, b in zip(expected, got, strict=False))
    print(f"{same} of {len(expected)} answers of {NEW} tokens have the same ids")
    print(f"the kit, one by one: {1 / alone:.2f} requests/s; vLLM, {len(asked)} together: {len(asked) / seconds:.2f}")
    if same < len(expected):
        raise KitError("answers differ; with --dtype float32 they should not")


def _kits(model, processor, conversation) -> list[int]:
    batch = processor.collate([processor.encode(conversation, answer=True)], padding_side="left").to(model.device)
    with torch.no_grad():
        ids = model.generate(**batch, max_new_tokens=NEW, do_sample=False)
    return ids[0, batch["input_ids"].shape[1] :].tolist()


def _vllms(given, prompts, picture) -> tuple[list[list[int]], float]:
    """The ids, and the seconds of the second time, when all is warm but the answers are new."""
    from vllm import LLM, SamplingParams

    llm = LLM(given.model, dtype=given.dtype, max_model_len=2048, enable_prefix_caching=False)
    how = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True)
    requests = [{"prompt": prompt, "multi_modal_data": {"image": picture}} for prompt in prompts]
    llm.generate(requests, how)
    began = time.perf_counter()
    outputs = llm.generate(requests, how)
    return [list(each.outputs[0].token_ids) for each in outputs], time.perf_counter() - began


if __name__ == "__main__":
    main()
