"""How a card says that its model is used: what the hub calls it, a command and Python that can be read."""

from __future__ import annotations

import ast
import shlex

import pytest

from tinyllava_kit.checkpoints.card_usage import pipeline_tag, use


@pytest.mark.parametrize(
    ("reads", "tag"),
    [
        ([], "text-generation"),
        (["image"], "image-text-to-text"),
        (["audio"], "any-to-any"),
        (["audio", "image"], "any-to-any"),
        (["sensor"], None),
        (["image", "sensor"], None),
    ],
)
def test_the_hub_has_a_word_for_models_of_pictures_and_sounds(reads, tag):
    assert pipeline_tag(reads) == tag


@pytest.mark.parametrize(
    ("reads", "given", "auto"),
    [
        ([], [], "AutoModelForCausalLM"),
        (["image"], ["--image", "picture.png"], "AutoModelForImageTextToText"),
        (["audio", "image"], ["--audio", "sound.wav", "--image", "picture.png"], "AutoModelForMultimodalLM"),
        (["sensor"], ["--item", "sensor=sensor.file"], "AutoModelForMultimodalLM"),
    ],
)
def test_the_command_and_the_python_give_the_same_items(reads, given, auto):
    lines = use(reads, "org/model", ["pip install a"])
    shell = lines[lines.index("```bash") + 1 : lines.index("```")]
    assert shell[0] == "pip install a"
    *command, question = shlex.split(shell[1])
    assert command == ["tinyllava", "ask", "org/model", *given]
    python = lines[lines.index("```python") + 1 : lines.index("```", lines.index("```python"))]
    tree = ast.parse("\n".join(python))
    calls = [
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained"
    ]
    assert calls == [auto, "AutoProcessor"]
    (messages,) = (
        ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "messages"
    )
    *items, text = messages[0]["content"]
    assert text == {"type": "text", "text": question}
    assert [item["type"] for item in items] == reads
    assert all(item["path"] in " ".join(given) for item in items)


def test_a_name_that_looks_like_an_option_is_a_folder():
    lines = use([], "-rf", [])
    assert shlex.split(lines[lines.index("```bash") + 1])[2] == "./-rf"
