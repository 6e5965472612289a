"""A modality from a distribution of its own, which the server has never heard of: asked about like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import toys
from tests.fakes import install
from tests.serving.conftest import Served
from tinyllava_kit import Assembly, assemble

pytestmark = pytest.mark.slow

DEPTH = Path(__file__).parents[2] / "examples" / "plugins" / "depth"
CELLS = 3


@pytest.fixture(scope="module")
def feeling(tmp_path_factory):
    """A toy that reads depth maps, served, and its model and processor."""
    folder = tmp_path_factory.mktemp("depth")
    with pytest.MonkeyPatch.context() as patch:
        install(folder, patch, DEPTH)
        assembly = Assembly.from_flags(
            llm=f"llama:{toys.save_llama(folder / 'llm')}",
            towers=["depth=depth_grid"],
            connectors=["depth=linear"],
            settings=[f"tower.depth.cells={CELLS}"],
        )
        torch.manual_seed(2)
        model, processor = assemble(assembly)
        model.generation_config.eos_token_id = None
        made = Served((model.eval(), processor))
        yield made, processor
        made.close()


def depth_map(nearest):
    return [[nearest + row + column for column in range(7)] for row in range(5)]


def turn(nearest):
    return [
        {"role": "user", "content": [{"type": "depth", "depth": depth_map(nearest)}, {"type": "text", "text": "far?"}]}
    ]


def test_it_is_among_what_the_model_reads(feeling):
    served, _ = feeling
    (card,) = served.client().models.list().data
    assert card.reads == ["text", "depth"]


def test_chat_about_it_answers_as_generate_does_and_counts_it(feeling):
    served, processor = feeling
    status, made = served.chat(turn(1.5), max_tokens=8)
    assert status == 200
    model = served.service.engine.model
    with torch.no_grad():
        batch = processor([turn(1.5)], padding_side="left", answer=True)
        ids = model.generate(**batch, max_new_tokens=8, do_sample=False)
    new = ids[0, batch["input_ids"].shape[1] :]
    assert made["choices"][0]["message"]["content"] == processor.decode(new, skip_special_tokens=True).lstrip()
    assert made["usage"]["prompt_tokens_details"]["depth_tokens"] == CELLS**2
    stream = served.client().chat.completions.create(model="toy", messages=turn(1.5), max_tokens=8, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == made["choices"][0]["message"]["content"]
    assert served.service.metrics.prompt_tokens["depth"] == 2 * CELLS**2


def test_its_tokens_are_counted_before_anything_is_asked(feeling):
    served, _ = feeling
    status, counts = served.post("/v1/tokens", {"messages": turn(2.0)})
    assert status == 200
    assert counts["items"] == [{"modality": "depth", "tokens": CELLS**2}]
    assert counts["by_modality"]["depth"] == CELLS**2


def test_decisions_about_it_depend_on_it(feeling):
    served, _ = feeling
    question = {"type": "predicate", "instructions": "it is far"}
    found = []
    for nearest in (0.0, 90.0):
        given = [{"role": "user", "content": [{"type": "depth", "depth": depth_map(nearest)}]}]
        status, made = served.post("/v1/decisions", {"input": given, "questions": [question]})
        assert status == 200
        found.append(made["answers"][0]["probability"])
    assert 0 < found[0] < 1
    assert found[0] != found[1]


def test_what_it_refuses_is_one_line_with_status_400(feeling):
    served, _ = feeling
    for source, why in (
        ([[-1.0]], "in metres"),
        ("AAAA", "not a depth map"),
        ({"path": "/etc/passwd"}, "are not read"),
    ):
        content = [{"type": "depth", "depth": source}]
        status, made = served.chat([{"role": "user", "content": content}])
        assert (status, why in made["error"]["message"]) == (400, True), made
        assert "\n" not in made["error"]["message"]
    status, made = served.chat([{"role": "user", "content": [{"type": "smell", "smell": [1.0]}]}])
    assert (status, made["error"]["param"]) == (400, "messages.0.content.0")
    assert "the model reads text, depth" in made["error"]["message"]
