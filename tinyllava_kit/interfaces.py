"""What components implement: modalities, towers, connectors, LLMs, decoders, chat templates. Public."""

from __future__ import annotations

from .core.conversation import ITEM as ITEM
from .core.conversation import Conversation as Conversation
from .core.conversation import Item as Item
from .core.conversation import Span as Span
from .core.conversation import Turn as Turn
from .core.decoders import AnswerStates as AnswerStates
from .core.decoders import GeneratedChunk as GeneratedChunk
from .core.decoders import HiddenDecoder as HiddenDecoder
from .core.decoders import IdStream as IdStream
from .core.decoders import TextDecoder as TextDecoder
from .core.decoders import TokenDecoder as TokenDecoder
from .core.ids import BEGIN as BEGIN
from .core.ids import END as END
from .core.ids import ParallelStream as ParallelStream
from .core.interfaces import ChatTemplate as ChatTemplate
from .core.interfaces import Connector as Connector
from .core.interfaces import Features as Features
from .core.interfaces import Grid as Grid
from .core.interfaces import LanguageModel as LanguageModel
from .core.interfaces import Modality as Modality
from .core.interfaces import Preprocessor as Preprocessor
from .core.interfaces import Tower as Tower
from .core.spans import IGNORE_INDEX as IGNORE_INDEX
from .core.spans import ItemSpan as ItemSpan
from .core.spans import TextSpan as TextSpan
from .model.vocabulary.codebooks import CODEBOOK_PATTERNS as CODEBOOK_PATTERNS
from .model.vocabulary.codebooks import CodebookDecoder as CodebookDecoder
from .model.vocabulary.codebooks import CodebookPattern as CodebookPattern
from .model.vocabulary.codebooks import DelayPattern as DelayPattern
from .pretrained.cache_name import CACHE as CACHE
