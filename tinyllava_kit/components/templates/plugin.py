"""The chat templates that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import ChatTemplateSpec


@hookimpl
def tinyllava_chat_templates() -> list[ChatTemplateSpec]:
    """The LLM's own template, and those of TinyLLaVA_Factory."""
    here = "tinyllava_kit.components.templates"
    return [
        ChatTemplateSpec(
            name="auto", target=f"{here}.tokenizer:TokenizerTemplate", summary="the LLM's own, from its tokenizer"
        ),
        ChatTemplateSpec(
            name="pretrain",
            target=f"{here}.pretrain:Pretrain",
            contract="tinyllava_kit.testing.own_templates:PretrainContract",
            summary="items and their captions, no questions",
        ),
        ChatTemplateSpec(
            name="vicuna", target=f"{here}.vicuna:Vicuna", summary="USER: ... ASSISTANT: ..., the tokenizer's end token"
        ),
        ChatTemplateSpec(name="llama", target=f"{here}.vicuna:Llama", summary="vicuna that ends a turn with </s>"),
        ChatTemplateSpec(name="gemma", target=f"{here}.vicuna:Gemma", summary="vicuna that ends a turn with <eos>"),
        ChatTemplateSpec(name="phi", target=f"{here}.vicuna:Phi", summary="vicuna that ends a turn with <|endoftext|>"),
        ChatTemplateSpec(
            name="qwen2_base", target=f"{here}.vicuna:Qwen2Base", summary="vicuna that ends a turn with <|endoftext|>"
        ),
        ChatTemplateSpec(
            name="qwen2_instruct",
            target=f"{here}.vicuna:Qwen2Instruct",
            summary="vicuna that ends a turn with <|im_end|>",
        ),
    ]
