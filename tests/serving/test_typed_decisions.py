"""Typed questions: probabilities of the answers that a question allows, as the model's own log probabilities say."""

from __future__ import annotations

import base64

import openai
import pytest
import torch

from tests.serving.conftest import asked, picture, png, sound, wav

pytestmark = pytest.mark.slow

CHOICES = [{"value": "red"}, {"value": "blue", "description": "as the sky"}, {"value": True}]
LEVELS = [{"label": "bad"}, {"label": "fair"}, {"label": "good"}]


def log_probs(pair, conversation, answers):
    """By one forward pass for each answer."""
    model, processor = pair
    found = []
    for each in answers:
        turn = type(conversation.turns[0])("assistant", each)
        whole = type(conversation)((*conversation.turns, turn), conversation.items)
        batch = processor.collate([processor.encode(whole, sanitize=True)], labels=True)
        with torch.no_grad():
            embeds = model.embed(batch["input_ids"], batch.get("items"), batch["plan"])
            logprobs = model.language_model(inputs_embeds=embeds).logits[0, :-1].log_softmax(-1)
        labels = batch["labels"][0, 1:]
        learned = labels >= 0
        found.append(logprobs[learned].gather(1, labels[learned][:, None]).sum())
    return torch.stack(found).softmax(0).tolist()


def test_a_predicate_about_a_picture(client, pair):
    content = [{"type": "input_image", "image_url": png(1)}, {"type": "input_text", "text": "look"}]
    question = {"type": "predicate", "name": "red", "instructions": "is it red?"}
    made = client.decisions.create(model="toy", input=[{"role": "user", "content": content}], questions=[question])
    conversation = asked(pair[1], "<image>look\nis it red?\nAnswer yes or no.", picture(1))
    expected = log_probs(pair, conversation, ["yes", "no"])
    (found,) = made.answers
    assert (found.type, found.name) == ("predicate", "red")
    assert found.probability == pytest.approx(expected[0], abs=1e-4)
    assert made.usage.input_tokens == made.usage.total_tokens > 20


def test_a_choice_and_a_score_about_a_sound(client, pair):
    data = {"data": base64.b64encode(wav(1)).decode(), "format": "wav"}
    given = [{"role": "user", "content": [{"type": "input_audio", "input_audio": data}]}]
    questions = [
        {"type": "choice", "instructions": "which?", "choices": CHOICES},
        {"type": "score", "instructions": [{"type": "input_text", "text": "how good?"}], "levels": LEVELS},
    ]
    choice, score = client.decisions.create(model="toy", input=given, questions=questions).answers
    which = "<audio>\nwhich?\nAnswer with one of: red, blue, true.\n- blue: as the sky"
    expected = log_probs(pair, asked(pair[1], which, sound(1)), ["red", "blue", "true"])
    assert [each.value for each in choice.probabilities] == ["red", "blue", True]
    assert [each.probability for each in choice.probabilities] == pytest.approx(expected, abs=1e-4)
    assert choice.choice == ["red", "blue", True][expected.index(max(expected))]
    assert (choice.confidence, choice.name) == (pytest.approx(max(expected), abs=1e-4), None)
    how = "<audio>\nhow good?\nAnswer with one of: bad, fair, good."
    expected = log_probs(pair, asked(pair[1], how, sound(1)), ["bad", "fair", "good"])
    assert [(each.label, each.value) for each in score.probabilities] == [("bad", 0), ("fair", 1), ("good", 2)]
    assert score.score == pytest.approx(expected[1] + 2 * expected[2], abs=1e-4)


def test_a_text_is_enough(client):
    question = {"type": "predicate", "instructions": "is it kind?"}
    made = client.decisions.create(model="toy", input="well done", questions=[question, question])
    assert made.answers[0] == made.answers[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": []}, "questions: List should have at least 1 item"),
        ({"questions": [{"type": "guess", "instructions": "?"}]}, "questions.0"),
        ({"questions": [{"type": "choice", "instructions": "?", "choices": CHOICES[:1]}]}, "at least 2 items"),
        (
            {"questions": [{"type": "choice", "instructions": "?", "choices": [CHOICES[0]] * 2}]},
            "the same answer twice",
        ),
        ({"questions": [{"type": "score", "instructions": "?", "levels": LEVELS * 4}]}, "at most 10 items"),
        (
            {"input": [{"type": "function_call", "name": "f", "call_id": "1", "arguments": ""}]},
            "is not supported; give",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_json", "data": {}}]}]},
            "'input_json'; the model",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line(client, change, message):
    given = {"model": "toy", "input": "a", "questions": [{"type": "predicate", "instructions": "?"}], **change}
    with pytest.raises(openai.BadRequestError, match=message):
        client.decisions.create(**given)
