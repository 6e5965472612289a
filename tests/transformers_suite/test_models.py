"""transformers' own tests of models, on this one: with text, and with items.

See `source` for where they come from, `failing` for those that fail.
"""

from __future__ import annotations

import contextlib
import unittest
import unittest.mock

import pytest

from tests.transformers_suite import failing, source
from tests.transformers_suite.tester import ItemsTester, TextTester
from tinyllava_kit import TinyLlavaConfig, TinyLlavaForConditionalGeneration

if reason := source.missing():
    pytest.skip(reason, allow_module_level=True)

common = source.common()
with_generation = hasattr(common.GenerationTesterMixin, "test_greedy_generate")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # they are transformers' own


class Models(common.ModelTesterMixin, common.GenerationTesterMixin):
    all_model_classes = (TinyLlavaForConditionalGeneration,)

    def setUp(self) -> None:
        self.model_tester = self.kind(self)
        name = {TinyLlavaConfig.model_type: TinyLlavaForConditionalGeneration.__name__}  # some tests look there
        listed = unittest.mock.patch.dict(common.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, name)
        listed.start()
        self.addCleanup(listed.stop)

    @contextlib.contextmanager
    def subTest(self, *_, **__):
        yield  # what fails in one is a failure of the test, whether it is listed or not

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class)
        return self.model_tester.add_labels(inputs) if return_labels else inputs


class TestText(Models, unittest.TestCase):
    kind = TextTester


class TestItems(Models, unittest.TestCase):
    kind = ItemsTester
    _is_composite = True

    def prepare_config_and_inputs_for_generate(self, batch_size=2):
        config, inputs = super().prepare_config_and_inputs_for_generate(batch_size)
        return config, {**inputs, **self.model_tester.inputs(batch_size)}  # a plan belongs to one batch


def mark(cls, table):
    for name, why in table.items():
        setattr(cls, name, pytest.mark.xfail(reason=why, strict=True)(getattr(cls, name)))


since_5_24 = {name: why for name, why in failing.SINCE_5_24.items() if hasattr(Models, name)}
mark(TestText, {**failing.TEXT, **since_5_24})
mark(TestItems, {**failing.ITEMS, **since_5_24, **(failing.GENERATION if with_generation else {})})
