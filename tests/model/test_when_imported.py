"""The Auto classes of transformers know the kit's, whichever is imported first; a process each, as users have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import toys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return toys.save_picture_model(tmp_path_factory.mktemp("auto"))


@pytest.mark.parametrize(
    "imports",
    [
        "import tinyllava_kit\nfrom transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor",
        "from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor\nimport tinyllava_kit",
        "from tinyllava_kit import assemble\nfrom transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, "
        "AutoProcessor",
    ],
    ids=["kit first", "transformers first", "a function of the kit first"],
)
def test_auto_classes_open_a_saved_model_in_a_fresh_process(saved, imports):
    code = f"""{imports}
for auto in (AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor):
    print(type(auto.from_pretrained({str(saved)!r})).__name__)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    model = "TinyLlavaForConditionalGeneration"
    assert ran.stdout.split() == ["TinyLlavaConfig", model, model, "TinyLlavaProcessor"]
