"""The processor: conversations to batches, without any weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..core.conversation import ITEM, Conversation, Span, check_reads, from_messages, from_row
from ..core.decoders import Decoder, HiddenDecoder
from ..core.interfaces import ChatTemplate, Connector, Modality, Preprocessor
from ..core.plan import Plan, plan
from ..core.spans import AnySpan, ItemSpan, TextSpan, without_labels
from ..errors import KitError
from ..files.atomic import HUB_ARGUMENTS, atomic_directory
from ..files.content import arguments
from ..files.failures import read_mapping, reading
from ..files.writing import write_json
from ..model.builders import build_connector, build_decoder
from ..model.configuration import TinyLlavaConfig
from ..model.storage.recognition import open_if_external
from ..model.vocabulary.grammar import grammar_of
from ..model.vocabulary.target_ids import targets_of
from ..plugin.catalog import Catalog
from ..plugin.discovery import installed_catalog
from ..plugin.specs import ModalitySpec, load
from ..pretrained.checkpoint import find_file, read_pretrained, read_tokenizer
from .answer_words import add_words_first, add_words_of_each
from .batch import Batch
from .chat_processor import ChatProcessor
from .control_tokens import as_text
from .encoded import Encoded, EncodedItem, ItemReader, ItemWriter
from .encoding import encode_spans
from .item_tensors import pad_features
from .items import ItemProcessor
from .jinja import (
    LEARNING_IS_KNOWN,
    OWN_TEMPLATE,
    TEMPLATE_FILES,
    begin_in_jinja,
    begin_text,
    jinja_of,
    restore_template,
    save_tokenizer,
)
from .processor_config import SETTINGS_FILE, preprocessor_of
from .prompting import Arguments, as_many, fill_parts, from_prompts, is_text, read_arguments


class TinyLlavaProcessor(ItemProcessor, ChatProcessor):
    """Tokenizer, chat template, modalities and the towers' preprocessors of one model.

    Example:
        >>> processor = TinyLlavaProcessor.from_pretrained("my-model")  # doctest: +SKIP
        >>> batch = processor([{"role": "user", "content": [{"type": "image", "image": "a.png"}, "What is it?"]}])

    Args:
        tokenizer: the LLM's.
        config: the model's configuration; names the components and their options.
        preprocessors: modality -> `Preprocessor` of its tower.
        catalog: the installed plugins; found when not given.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: TinyLlavaConfig,
        preprocessors: Mapping[str, Preprocessor],
        catalog: Catalog | None = None,
    ) -> None:
        catalog = catalog or installed_catalog()
        self.tokenizer = tokenizer
        self.config = config
        self.preprocessors = dict(preprocessors)
        template = config.component("template")
        template_class = load(template.offer("template", catalog).spec)
        options = arguments(template_class, template.options, "config.json: template.options", given=("tokenizer",))
        self.template: ChatTemplate = template_class(tokenizer, **options)
        self.specs: dict[str, ModalitySpec] = {}
        self.modalities = {}
        for modality in config.modalities:
            component = config.component("modality", modality)
            spec = component.offer("modality", catalog).spec
            assert isinstance(spec, ModalitySpec)
            self.specs[modality] = spec
            self.modalities[modality] = _modality(load(spec), modality, component.options)
        # in order: processes that share data say the same
        self.unread = sorted({offer.spec.name for offer in catalog.of_kind("modality")} - self.specs.keys())
        with torch.device("meta"):  # asked for their arithmetic only
            self.connectors: dict[str, Connector] = {m: build_connector(config, m, catalog) for m in config.towers}
            self.decoders: dict[str, Decoder] = {m: build_decoder(config, m, catalog) for m in config.decoders}
        self.grammar = grammar_of(config, self.decoders)
        self.writer: ItemWriter | None = None  # takes the model: `features.item_codes.ItemCodes(model, processor)`

    def __repr__(self) -> str:
        parts = ", ".join(f"{m}: {type(p).__name__}" for m, p in self.preprocessors.items())
        return f"{type(self).__name__}({type(self.template).__name__}, {{{parts}}})"

    def __getattr__(self, name: str) -> Any:
        """``MODALITY_token_id``, as transformers' processors have it; see `TinyLlavaConfig`."""
        if name.endswith("_token_id") and name.removesuffix("_token_id") in vars(self).get("specs", ()):
            return getattr(self.config, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def chat_template(self) -> str | None:  # type: ignore[override]  # the saved form is made of the template
        """The model's template in jinja, what other programs ask with; None where it has no such form.

        It says that `apply_chat_template` knows the learned tokens, as templates that mark them do.
        """
        template = self._jinja()
        return None if template is None else LEARNING_IS_KNOWN + template

    def _jinja(self) -> str | None:
        """The template in its saved form, for programs that have nothing else."""
        marks = {modality: spec.token.text for modality, spec in self.specs.items()}
        return jinja_of(self.template, marks, begin=begin_in_jinja(self.template, self.tokenizer))

    def with_template(self, name: str) -> TinyLlavaProcessor:
        """The same processor with another chat template.

        Raises:
            KitError: nobody offers it, or it does not fit the tokenizer.
        """
        config = copy.deepcopy(self.config)
        config.template = {"name": name}
        return type(self)(self.tokenizer, config, self.preprocessors)

    def __call__(
        self,
        conversations: Any = None,
        *,
        text: str | Sequence[str] | None = None,
        labels: bool = False,
        answer: bool | None = None,
        padding_side: str | None = None,
        max_length: int | None = None,
        **given: Any,
    ) -> Batch:
        """Conversations, or prompts with their items -> a batch; of a list of prompts, see `Batch.by_types`.

        Example:
            >>> prompt = processor.apply_chat_template(messages, add_generation_prompt=True)  # doctest: +SKIP
            >>> batch = processor(text=prompt, images=[picture], return_tensors="pt")  # doctest: +SKIP

        Args:
            conversations: messages, a LLaVA row, a `Conversation`, or a list of one of these.
            text: a prompt in their place, or a list of prompts: text that `apply_chat_template` wrote, with a
                placeholder where an item stands.
            labels: also make labels (training). `answer`: end where the assistant begins to speak; default: not
                with labels. `padding_side`: default right with labels, left without.
            max_length: see `fusion.plan`; of prompts only with ``truncation=True``, as in transformers.
            given: the items of prompts under their modality's name (``images=``, ``audio=``), ``sampling_rate=`` in Hz
                of bare arrays, and the options of transformers' processors, see `prompting.read_arguments`.

        Raises:
            KitError: a bad conversation, prompt, item or argument; names it.
        """
        arguments = read_arguments(given, self.specs)
        if text is None and is_text(conversations):
            conversations, text = None, conversations
        if (text is None) == (conversations is None):
            raise KitError("the processor takes conversations, or text=PROMPT with its items; give one of the two")
        if text is not None:
            encoded = self._encode_prompts(text, arguments, labels)
            max_length = max_length if arguments.truncation else None
            batch = self.collate(encoded, padding_side=padding_side, max_length=max_length)
            return batch.by_types(sorted(self.specs), named=not isinstance(text, str))
        sources = fill_parts(as_many(conversations), arguments, self.specs)
        answer = not labels if answer is None else answer
        encoded = [self.encode(self.conversation(source), answer=answer) for source in sources]
        return self.collate(encoded, labels=labels, padding_side=padding_side, max_length=max_length)

    def _encode_prompts(self, text: str | Sequence[str], arguments: Arguments, labels: bool) -> list[Encoded]:
        """Prompts as they stand, with a begin token where the chat template leaves it to the tokenizer."""
        if labels:
            raise KitError("labels are made of conversations, whose answers are known; give messages in place of text")
        begin = begin_text(self.template, self.tokenizer)
        wanted = self.template.add_bos if arguments.add_special_tokens is None else arguments.add_special_tokens
        encoded = []
        for prompt in from_prompts(text, arguments, self.specs):
            words = prompt.turns[0].text
            written = begin != "" and words.startswith(begin)
            spans = [Span(words.removeprefix(begin))]
            encoded.append(self._encode_rendered(spans, prompt, add_bos=wanted or written))
        return encoded

    def conversation(self, source: Any, *, name: str = "") -> Conversation:
        """Messages, a LLaVA row or a conversation, as a conversation; `name` is used in errors."""
        if isinstance(source, Conversation):
            return source
        if isinstance(source, Mapping):
            return from_row(source, self.specs, name=name or "row", unread=self.unread, reads=self.reads)
        return from_messages(source, self.specs, name=name or "messages")

    def encode(
        self,
        conversation: Conversation,
        *,
        answer: bool = False,
        continued: bool = False,
        sanitize: bool | None = None,
        reader: ItemReader | None = None,
        writer: ItemWriter | None = None,
    ) -> Encoded:
        """A conversation as spans with exact labels, its items read.

        An item that the assistant gives, of a modality that the model learns to give, becomes ids, which are all
        learned; where a decoder makes it of words, they take no position. Its text, where it has one and the turn has
        no words, stands in front of it.

        Args:
            answer: end the text where the assistant begins to speak. continued: leave its last words open.
            sanitize: control tokens that the turns spell are text: None: all special ones, and in what the assistant
                does not say the others that its chat template writes; True: both in every turn; False: none.
            reader: reads an item; default `read_item`.
            writer: turns such an item into ids; default: the processor's `writer`.

        Raises:
            KitError: a turn that the template cannot write, an item that the model does not read, such items without
                a writer, or without words that they can be made of.
        """
        conversation = add_words_first(add_words_of_each(conversation, self.makes), self.gives)
        if sanitize is not False:
            conversation = as_text(conversation, self.tokenizer, answers_too=sanitize is True)
        spans = self.render(conversation, answer=answer, continued=continued)
        return self._encode_rendered(
            self._with_markers(spans, conversation),
            conversation,
            add_bos=self.template.add_bos,
            answer=answer,
            reader=reader,
            writer=writer,
        )

    def _encode_rendered(
        self,
        spans: Sequence[Span],
        conversation: Conversation,
        *,
        add_bos: bool,
        answer: bool = True,
        reader: ItemReader | None = None,
        writer: ItemWriter | None = None,
    ) -> Encoded:
        """What the chat template wrote, tokenized, its items read."""
        places = iter(zip(conversation.items, conversation.answered(self.gives), strict=True))
        sample: list[AnySpan] = []
        items: list[EncodedItem] = []
        for span in encode_spans(spans, self.tokenizer, add_bos=add_bos):
            if span is not None:
                sample.append(span)
                continue
            item, given = next(places)
            if not given:
                check_reads(item.modality, self.reads, conversation.name)
                parts = (reader or self.read_item)(item)
                sample += [each for part in parts for each in self.spans_of(part)]
                items += [part for part in parts if not isinstance(part, str)]
            elif not (answer and item.modality in self.makes):  # nobody reads the words of such an item
                sample.append(self.written(item, writer or self.writer, sample))
        return Encoded(sample, items, conversation.name)

    def spans_of(self, part: EncodedItem | str) -> Sequence[TextSpan | ItemSpan]:
        """A part at an item's place: text, or an item with as many tokens as its connector makes."""
        if isinstance(part, str):
            return [span for span in encode_spans([Span(part)], self.tokenizer, add_bos=False) if span is not None]
        tokens = self.connectors[part.modality].num_tokens(sum(part.num_features))
        return [ItemSpan(part.modality, tokens)]

    def probe(self, conversation: Conversation) -> Encoded:
        """What `encode` gives with labels, its spans and their token counts exact, its items without their rows.

        No item is decoded where its header says how large it is (`Modality.probe`). It cannot be collated.
        """
        return self.encode(conversation, reader=self.probe_item, writer=self.probe_ids)

    def collate(
        self,
        encoded: Sequence[Encoded],
        *,
        labels: bool = False,
        padding_side: str | None = None,
        max_length: int | None = None,
        packs: Sequence[int] | None = None,
    ) -> Batch:
        """Encoded conversations -> a batch; the plan is made here, on the CPU.

        Args:
            packs: how many of them share each row, in order. Such a batch has no mask: the restarting positions keep
                attention within each.
        """
        inputs, layout = plan(
            [e.spans if labels else without_labels(e.spans) for e in encoded],
            pad_id=self.pad_id,
            padding_side=padding_side or ("right" if labels else "left"),
            max_length=max_length,
            packs=packs,
            names=[e.name for e in encoded],
        )
        data: dict[str, Any] = dict(inputs)
        if layout.target_positions is not None and self.gives:
            previous = inputs["input_ids"].flatten()[layout.target_positions]  # (n,)
            made = sorted(self.decoders.items())
            makers = {m: decoder for m, decoder in made if isinstance(decoder, HiddenDecoder)}
            data["targets"] = targets_of(layout, previous, self.grammar, makers)
        items = {m: self._collate_items(m, encoded, layout) for m in layout.item_positions}
        if items:
            data["items"] = items
        data["plan"] = layout
        return Batch(data)

    @property
    def pad_id(self) -> int:
        """The id at positions that hold no text token."""
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(i for i in ids if i is not None)

    def settings(self) -> dict[str, Any]:
        """What ``processor_config.json`` holds."""
        preprocessors = {modality: each.settings() for modality, each in self.preprocessors.items()}
        name = type(self).__name__
        return {"processor_class": name, "preprocessors": preprocessors, OWN_TEMPLATE: self.tokenizer.chat_template}

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Tokenizer, settings and ``config.json``: enough to load the processor again, offline.

        ``chat_template.jinja`` is what the model asks with, where that can be said in jinja, or is not there; the
        LLM's own template is in the settings.
        """
        with atomic_directory(save_directory, without=TEMPLATE_FILES) as stage:
            save_tokenizer(self.tokenizer, self._jinja(), stage)
            if not (Path(save_directory) / "config.json").exists():
                self.config.save_pretrained(stage)
            write_json(stage / SETTINGS_FILE, self.settings(), indent=2)
        if push_to_hub:
            hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
            self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # what else it takes is in kwargs
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, catalog: Catalog | None = None, **kwargs: Any
    ) -> TinyLlavaProcessor:
        """From a directory that `save_pretrained` wrote, or a hub name of one; or from another project's directory.

        Raises:
            KitError: not such a directory. MissingPluginError: a component's plugin is not installed.
        """
        path = str(pretrained_model_name_or_path)
        if external := open_if_external(path, kwargs.get("cache_dir"), catalog=catalog):
            return external.processor()
        hub = {k: kwargs[k] for k in ("cache_dir", "revision", "token", "subfolder") if k in kwargs}
        return cls.of_config(path, read_pretrained(TinyLlavaConfig, path, **hub), catalog=catalog, **hub)

    @classmethod
    def of_config(
        cls, path: str, config: TinyLlavaConfig, *, catalog: Catalog | None = None, **hub: Any
    ) -> TinyLlavaProcessor:
        """From a directory or hub name of this kit whose configuration is known.

        Args:
            hub: where and how a hub name is looked up, as in transformers.

        Raises:
            KitError: tokenizer or settings are not there. MissingPluginError: a component's plugin is not installed.
        """
        file = find_file(path, SETTINGS_FILE, **hub)
        if file is None:
            raise KitError(f"{path!r} has no {SETTINGS_FILE} of this kit; assemble or convert the model again")
        catalog = catalog or installed_catalog()
        settings = read_mapping(file)
        preprocessors = {}
        for modality in config.towers:
            tower = load(config.component("tower", modality).offer("tower", catalog).spec)
            preprocessors[modality] = preprocessor_of(settings, file, modality, tower.preprocessor_class)
        tokenizer = read_tokenizer(path, config=config.text_config, **hub)  # or it looks for the kit's own
        restore_template(tokenizer, settings, path)
        return cls(tokenizer, config, preprocessors, catalog)

    def _with_markers(self, spans: Sequence[Span], conversation: Conversation) -> list[Span]:
        """The spans with begin and end texts around each item; items that the model learns to give have marks of their
        own.

        Raises:
            KitError: the template lost or doubled an item.
        """
        waiting = iter(zip(conversation.items, conversation.answered(self.gives), strict=True))
        out = []
        for span in spans:
            first, *rest = span.text.split(ITEM)
            text = first
            for piece in rest:
                item, answered = next(waiting, (None, False))
                if item is None:
                    raise KitError("the chat template wrote an item twice; choose another --template")
                token = self.specs[item.modality].token
                text += f"{ITEM}{piece}" if answered else f"{token.begin}{ITEM}{token.end}{piece}"
            out.append(Span(text, span.learn))
        if next(waiting, None) is not None:
            raise KitError("the chat template left an item out; choose another --template")
        return out

    def _collate_items(self, modality: str, encoded: Sequence[Encoded], layout: Plan) -> dict[str, Tensor]:
        every = [item for e in encoded for item in e.items if item.modality == modality]
        items = [every[planned.index] for planned in layout.kept(modality)]
        features = [item.features for item in items if item.features is not None]
        if len(features) == len(items):
            return pad_features(features)
        rows = [row for item in items for row in item.rows]
        return self.tower_inputs(modality, rows, [item.num_features for item in items])


def _modality(kind: type[Modality], name: str, options: Mapping[str, Any]) -> Modality:
    """Build a modality with the options of a saved configuration.

    Raises:
        KitError: options that it does not take.
    """
    where = f"config.json: modalities.{name}.options"
    taken = arguments(kind, options, where)
    with reading(where):
        return kind(**taken)
