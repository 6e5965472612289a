"""What a plugin's hooks return: light descriptions of components. Public; imports no torch."""

from __future__ import annotations

from .plugin.specs import BenchmarkSpec as BenchmarkSpec
from .plugin.specs import ChatTemplateSpec as ChatTemplateSpec
from .plugin.specs import CheckpointSpec as CheckpointSpec
from .plugin.specs import CommandSpec as CommandSpec
from .plugin.specs import ConnectorSpec as ConnectorSpec
from .plugin.specs import DecoderSpec as DecoderSpec
from .plugin.specs import ExportSpec as ExportSpec
from .plugin.specs import LanguageModelSpec as LanguageModelSpec
from .plugin.specs import ModalitySpec as ModalitySpec
from .plugin.specs import ObjectiveSpec as ObjectiveSpec
from .plugin.specs import Option as Option
from .plugin.specs import ReaderSpec as ReaderSpec
from .plugin.specs import ScorerSpec as ScorerSpec
from .plugin.specs import Spec as Spec
from .plugin.specs import TokenType as TokenType
from .plugin.specs import TowerSpec as TowerSpec
from .plugin.specs import load as load
