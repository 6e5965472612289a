"""How many tokens a request took, by modality, against what its spans hold."""

from __future__ import annotations

from tinyllava_kit.core.spans import GeneratedSpan, ItemSpan, TextSpan
from tinyllava_kit.processing.encoded import Encoded
from tinyllava_kit.serving.engine import AnswerCount
from tinyllava_kit.serving.usage import prompt_tokens, usage_of

PROMPT = Encoded(
    [TextSpan([1, 2]), ItemSpan("image", 7), TextSpan([3]), ItemSpan("audio", 5), ItemSpan("image", 4), TextSpan([])]
)


def test_a_prompt_is_counted_by_modality():
    assert prompt_tokens(PROMPT) == {"text": 3, "image": 11, "audio": 5}
    assert sum(prompt_tokens(PROMPT).values()) == PROMPT.num_tokens


def test_a_prompt_of_nothing_has_no_text_and_what_is_made_of_words_takes_no_token():
    assert prompt_tokens(Encoded([])) == {"text": 0}
    assert prompt_tokens(Encoded([TextSpan([1]), GeneratedSpan("audio", [1, 2, 3])])) == {"text": 1}


def test_usage_counts_a_prompt_once_and_every_answer():
    answers = [AnswerCount(tokens=9, by_modality={"audio": 6}), AnswerCount(tokens=4)]
    assert usage_of(PROMPT, answers) == {
        "prompt_tokens": 19,
        "completion_tokens": 13,
        "total_tokens": 32,
        "prompt_tokens_details": {"text_tokens": 3, "image_tokens": 11, "audio_tokens": 5},
        "completion_tokens_details": {"text_tokens": 7, "audio_tokens": 6},
    }


def test_no_answer_wrote_nothing():
    usage = usage_of(PROMPT, [])
    assert (usage["completion_tokens"], usage["completion_tokens_details"]) == (0, {"text_tokens": 0})
