"""Answers in JSON: of a random model, which would write anything, judged by json and jsonschema."""

from __future__ import annotations

import asyncio
import json

import jsonschema
import openai
import pytest
import torch

from tests.serving.asking import said
from tests.serving.conftest import asked, picture
from tinyllava_kit.plugin import extras
from tinyllava_kit.serving.answer_formats import ANY_OBJECT, AnswerFormats, FormatError
from tinyllava_kit.serving.limits import Limits
from tinyllava_kit.testing import toy_tokenizer

pytestmark = pytest.mark.slow

SHAPE = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3},
        "inside": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["color", "count", "words", "inside"],
    "additionalProperties": False,
}


def of_schema(schema, **how):
    return {"type": "json_schema", "json_schema": {"name": "shape", "schema": schema, **how}}


def ask(served, **how):
    messages = [{"role": "user", "content": "what shape is it?"}]
    given = {"model": "toy", "messages": messages, "max_tokens": 200, **how}
    return served.client().chat.completions.create(**given)


@pytest.fixture(scope="module")
def formats(pair):
    return AnswerFormats(pair[1].tokenizer, ())


@pytest.mark.parametrize("how", [{}, {"temperature": 1.5, "seed": 3}, {"temperature": 1.0, "top_p": 0.1, "seed": 4}])
def test_an_answer_is_of_the_schema_whole_and_streamed(served, how):
    form = of_schema(SHAPE, strict=True)
    choice = ask(served, response_format=form, **how).choices[0]
    assert choice.finish_reason == "stop"
    jsonschema.validate(json.loads(choice.message.content), SHAPE)
    chunks = ask(served, response_format=form, stream=True, **how)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == choice.message.content


def test_several_answers_of_one_request_are_each_of_the_schema(served):
    made = ask(served, response_format=of_schema(SHAPE), n=4, seed=1)
    contents = [choice.message.content for choice in made.choices]
    for content in contents:
        jsonschema.validate(json.loads(content), SHAPE)
    assert len(set(contents)) > 1


def test_any_object_is_the_beginning_of_one(served, formats):
    choice = ask(served, response_format={"type": "json_object"}, max_tokens=40).choices[0]
    assert choice.message.content.startswith("{")
    mask, ids = formats.of(ANY_OBJECT, 5.0).mask(0), formats.vocabulary.tokenize_str('{"a": [1, ')
    for length in range(len(ids) + 1):
        assert mask(torch.tensor([ids[:length]], dtype=torch.int64), torch.zeros(1, 320)).isfinite().any()
    mask.check()


def test_a_text_is_as_without_a_format(served):
    plain = ask(served, max_tokens=9).choices[0].message.content
    assert ask(served, max_tokens=9, response_format={"type": "text"}).choices[0].message.content == plain


def test_requests_with_and_without_a_schema_together_answer_as_each_alone(pair, engine, formats):
    _, processor = pair
    form = formats.of(SHAPE, 5.0)
    conversations = [asked(processor, "hello?"), asked(processor, "what is this", picture(1))]
    ways = [{}, {"format": form}, {"temperature": 0.9, "seed": 5}, {"temperature": 0.9, "seed": 5, "format": form}]
    each = [(conversation, {**how, "max_new_tokens": 90}) for conversation in conversations for how in ways]

    async def use(engine):
        together = await asyncio.gather(*(said(engine, conversation, **how) for conversation, how in each))
        alone = [await said(engine, conversation, **how) for conversation, how in each]
        return [text for text, _, _ in together], [text for text, _, _ in alone]

    together, alone = engine(use)
    assert together == alone
    for (_, how), text in zip(each, together, strict=True):
        if "format" in how:
            jsonschema.validate(json.loads(text), SHAPE)
    assert engine(use, batching=False)[1] == alone


def test_ids_that_the_tokenizer_has_not_are_never_allowed(formats):
    width = len(formats.tokenizer) + 57  # item rows, codes of sounds, a padded head
    mask = formats.of({"type": "string"}, 5.0).mask(2)
    scores = mask(torch.tensor([[1, 7]]), torch.zeros(1, width))
    assert scores[0, len(formats.tokenizer) :].isneginf().all()
    assert scores.isfinite().any()
    narrow = formats.of({"type": "string"}, 5.0).mask(2)(torch.tensor([[1, 7]]), torch.zeros(1, 70))
    assert narrow.shape == (1, 70)


def test_what_the_format_does_not_allow_ends_the_answer_with_a_fault(formats):
    mask = formats.of({"type": "integer"}, 5.0).mask(0)
    scores = mask(torch.tensor([formats.tokenizer.encode('"', add_special_tokens=False)]), torch.zeros(1, 320))
    assert scores.isfinite().nonzero()[:, 1].tolist() == formats.ends
    with pytest.raises(FormatError, match="the answer could not be held to its response_format"):
        mask.check()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strnig"}, "cannot be held to: Invalid type: strnig"),
        (
            {"type": "object", "properties": {"a": {"items": {"type": "foo"}}}},
            "at /properties/a/items: Invalid type: foo",
        ),
        ({"anyOf": [{"type": "null"}, {"not": {}}]}, 'at /anyOf/1: Unimplemented keys: ["not"]'),
        ({"properties": {"a": {"pattern": "(", "type": "string"}}}, "at /properties/a: regex parse error"),
        ({"$ref": "http://127.0.0.1/schema"}, "does not fetch"),
        ({"$ref": "#/$defs/none"}, "does not exist"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "minimum (5) is greater than maximum (1)"),
        ({"properties": {"x": {"const": "y" * 70_000}}}, "characters, at most 65536 are read"),
    ],
)
def test_a_schema_that_cannot_be_held_to_is_refused_with_its_place(served, schema, message):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(served, response_format=of_schema(schema))
    assert message in caught.value.message
    assert (caught.value.param, caught.value.code) == ("response_format", "invalid_response_format")


@pytest.mark.parametrize("form", [{"type": "json_schema"}, {**of_schema({}), "type": "text"}])
def test_a_schema_goes_with_its_type(served, form):
    with pytest.raises(openai.BadRequestError, match="response_format: give"):
        ask(served, response_format=form)


def test_a_schema_that_takes_too_long_is_refused(served, monkeypatch):
    monkeypatch.setattr(served.service, "limits", Limits(schema_seconds=1e-6))
    with pytest.raises(openai.BadRequestError, match="takes more than 1e-06 s to compile"):
        ask(served, response_format=of_schema({"enum": ["x" * 1000] * 50}))


def test_without_the_package_it_is_one_error_and_all_else_is_served(served, monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "llguidance" else found(name))
    fresh = AnswerFormats(served.service.formats.tokenizer, ())
    monkeypatch.setattr(served.service, "formats", fresh)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(served, response_format={"type": "json_object"})
    assert caught.value.message.endswith("response_format needs llguidance; pip install 'tinyllava-kit[json]'")
    assert caught.value.param == "response_format"
    assert ask(served, max_tokens=2).choices[0].finish_reason == "length"


def test_a_tokenizer_that_the_package_cannot_read_is_an_error_of_the_request():
    class Slow:
        eos_token_id = 2

    with pytest.raises(FormatError, match="does not work with this model's tokenizer: Only fast tokenizers"):
        AnswerFormats(Slow(), ()).of({}, 5.0)


def test_bytes_and_words_of_other_tokenizers_spell_json():
    formats = AnswerFormats(toy_tokenizer(), ())
    mask = formats.of({"const": {"a": "é"}}, 5.0).mask(0)
    ids: list[int] = []
    while True:
        scores = mask(torch.tensor([ids], dtype=torch.int64), torch.zeros(1, len(formats.tokenizer)))
        ids.append(int(scores[0].isfinite().nonzero()[-1]))
        if ids[-1] in formats.ends:
            break
    assert json.loads(formats.tokenizer.decode(ids[:-1])) == {"a": "é"}
