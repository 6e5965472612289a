"""A model type of a plugin's own is known once its module is imported; of others transformers says what it knows."""

from __future__ import annotations

import json
import sys

import pytest
from transformers import CONFIG_MAPPING, LlamaConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING as REGISTERED

from tests.fakes import FakeSite, offering
from tinyllava_kit import KitError
from tinyllava_kit.pretrained.owners import import_owner, read_llm_config

OWN = """
from transformers import AutoConfig, LlamaConfig

class Own(LlamaConfig):
    model_type = "own_of_test"

class Llm:
    pass

AutoConfig.register("own_of_test", Own)
"""


@pytest.fixture
def own(site: FakeSite):
    """An LLM whose type its own module registers."""
    site.module("own_llm_of_test", OWN)
    spec = "LanguageModelSpec(name='own', target='own_llm_of_test:Llm', model_types=('own_of_test',))"
    site.plugin("own", offering("tinyllava_llms", spec))
    yield
    REGISTERED._extra_content.pop("own_of_test", None)


@pytest.mark.usefixtures("own")
def test_the_owner_of_a_type_is_imported_where_it_is_not_known():
    assert not import_owner("nobodys")
    assert import_owner("llama")
    assert "own_llm_of_test" not in sys.modules
    assert import_owner("own_of_test")
    assert CONFIG_MAPPING["own_of_test"].__name__ == "Own"


@pytest.mark.parametrize("name", [None, 3, ["llama"], {}])
def test_what_is_no_name_has_no_owner(name):
    assert not import_owner(name)


@pytest.mark.usefixtures("own")
def test_a_configuration_of_a_plugins_type_is_read(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own_of_test", "hidden_size": 24, "num_attention_heads": 4})
    )
    config = read_llm_config(str(tmp_path))
    assert (type(config).__name__, config.hidden_size) == ("Own", 24)


def test_a_configuration_of_transformers_is_read_without_asking_plugins(tmp_path, site: FakeSite):
    site.plugin("bad", "raise AssertionError('was imported')")
    LlamaConfig(hidden_size=24, num_attention_heads=4).save_pretrained(tmp_path)
    assert type(read_llm_config(str(tmp_path))) is LlamaConfig


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("content", ['{"model_type": "nobodys"}', "{}", "{", None])
def test_a_type_that_nobody_knows_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(KitError, match=r"cannot read AutoConfig from|config\.json line 1, column 2: not JSON"):
        read_llm_config(str(tmp_path))


def test_an_owner_that_cannot_be_imported_is_named(tmp_path, site: FakeSite):
    spec = "LanguageModelSpec(name='own', target='not_there:Llm', model_types=('own_of_test',))"
    site.plugin("own", offering("tinyllava_llms", spec))
    with pytest.raises(KitError, match="llm 'own': cannot import not_there:Llm"):
        import_owner("own_of_test")
