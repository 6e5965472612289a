"""What a plugin author's tests call: the contract of each kind of component as checks, a toy LLM and tokenizer.

`pytest --tinyllava-conformance` runs the contract of whatever is installed, and pytest takes a class that extends
one as a class of tests. The names here are public, and are imported when they are first touched.

Example:
    >>> class TestMyTower(AudioTowerContract):
    ...     component = MyTower
    ...     min_samples, hop_samples, window_samples = 400, 320, 480_000
    ...     window_tolerance = 0.05
    ...
    ...     def toy_checkpoint(self, folder):
    ...         return save_a_toy(folder)
    ...
    ...     def count(self, num_samples):
    ...         return (num_samples - 400) // 320 + 1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .audio_towers import AudioTowerContract as AudioTowerContract
    from .benchmarks import BenchmarkContract as BenchmarkContract
    from .chat_templates import ChatTemplateContract as ChatTemplateContract
    from .commands import CommandContract as CommandContract
    from .connectors import ConnectorContract as ConnectorContract
    from .contract import CheckFailure as CheckFailure
    from .contract import Contract as Contract
    from .contract import DoesNotApply as DoesNotApply
    from .contract import check as check
    from .contract import checks_of as checks_of
    from .exports import ExportContract as ExportContract
    from .hidden_decoders import HiddenDecoderContract as HiddenDecoderContract
    from .isolated import only_this_plugin as only_this_plugin
    from .language_models import LanguageModelContract as LanguageModelContract
    from .layouts import CheckpointReaderContract as CheckpointReaderContract
    from .modalities import ModalityContract as ModalityContract
    from .no_sync import NoSync as NoSync
    from .objectives import ObjectiveContract as ObjectiveContract
    from .offered import contract_of as contract_of
    from .packed_samples import check_packing as check_packing
    from .readers import ReaderContract as ReaderContract
    from .scorers import ScorerContract as ScorerContract
    from .text_decoders import TextDecoderContract as TextDecoderContract
    from .token_decoders import TokenDecoderContract as TokenDecoderContract
    from .towers import TowerContract as TowerContract
    from .toy_models import toy_model as toy_model
    from .toys import save_toy_llm as save_toy_llm
    from .toys import toy_tokenizer as toy_tokenizer

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AudioTowerContract": ".audio_towers",
        "BenchmarkContract": ".benchmarks",
        "ChatTemplateContract": ".chat_templates",
        "CheckFailure": ".contract",
        "CheckpointReaderContract": ".layouts",
        "CommandContract": ".commands",
        "ConnectorContract": ".connectors",
        "Contract": ".contract",
        "DoesNotApply": ".contract",
        "ExportContract": ".exports",
        "HiddenDecoderContract": ".hidden_decoders",
        "LanguageModelContract": ".language_models",
        "ModalityContract": ".modalities",
        "NoSync": ".no_sync",
        "ObjectiveContract": ".objectives",
        "ReaderContract": ".readers",
        "ScorerContract": ".scorers",
        "TextDecoderContract": ".text_decoders",
        "TokenDecoderContract": ".token_decoders",
        "TowerContract": ".towers",
        "check": ".contract",
        "check_packing": ".packed_samples",
        "checks_of": ".contract",
        "contract_of": ".offered",
        "only_this_plugin": ".isolated",
        "save_toy_llm": ".toys",
        "toy_model": ".toy_models",
        "toy_tokenizer": ".toys",
    },
)
