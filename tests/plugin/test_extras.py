"""What is asked for before work begins, and the line that installs it."""

from __future__ import annotations

import sys

import pytest

from tests.fakes import FakeSite
from tinyllava_kit.errors import KitError
from tinyllava_kit.plugin.extras import install_line, need


def test_a_module_that_is_needed_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    need("jiwer", "scorer 'wer'")
    monkeypatch.setitem(sys.modules, "jiwer", None)
    said = r"scorer 'wer' needs jiwer; pip install 'tinyllava-kit\[evaluate\]'"
    with pytest.raises(KitError, match=said):
        need("jiwer", "scorer 'wer'")


EXTRAS = {
    "soundfile": "audio",
    "torchaudio": "audio",
    "datasets": "datasets",
    "jiwer": "evaluate",
    "bitsandbytes": "quantize",
    "gguf": "gguf",
    "matplotlib": "show",
}


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_the_line_names_the_extra_that_a_user_wants(module: str, extra: str) -> None:
    assert install_line(module) == f"pip install 'tinyllava-kit[{extra}]'"


def test_a_module_of_no_extra_comes_alone(site: FakeSite) -> None:
    assert install_line("jiwer") == "pip install jiwer"  # the kit is not installed
    site.distribution("tinyllava-kit", requires=["jiwers>=1; extra == 'more'", "torch>=2", 'jiwer ; extra == "less"'])
    assert install_line("torch") == "pip install torch"
    assert install_line("jiwer") == "pip install 'tinyllava-kit[less]'"
