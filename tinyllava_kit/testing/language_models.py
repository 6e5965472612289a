"""The contract of a language model.

Legend: B rows, T positions, D width, V vocabulary.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ..core.interfaces import LanguageModel
from ..core.plan import plan
from ..core.spans import TextSpan
from ..model.configuration import TinyLlavaConfig
from ..model.modeling import TinyLlavaForConditionalGeneration
from ..plugin.catalog import Catalog, Offer
from ..plugin.specs import LanguageModelSpec
from .comparing import check_close
from .contract import DoesNotApply, check
from .loaded import LoadedContract, check_model_types
from .specified import SpecifiedContract
from .toys import toy_tokenizer

_SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


class LanguageModelContract(SpecifiedContract, LoadedContract):
    """What holds for a causal LM in a model of this kit.

    An author gives `toy_checkpoint` where the first of the spec's `model_types` is none of transformers' that takes
    the usual names of sizes.
    """

    kind = "llm"
    component: ClassVar[Any] = LanguageModel
    tolerance: ClassVar[float] = 1e-4
    half_tolerance: ClassVar[float] = 0.1
    # Why samples cannot share a row, where they cannot; training refuses to pack them.
    not_packed: ClassVar[str] = ""

    def toy_checkpoint(self, folder: Path) -> str:
        """A model of two layers of the first model type, and the toy tokenizer."""
        types = getattr(self.spec, "model_types", ())
        if not types:
            raise NotImplementedError(f"{type(self).__name__} must give toy_checkpoint(folder)")
        config = AutoConfig.for_model(types[0])
        own = {name: value for name, value in _SIZES.items() if hasattr(config, name)}
        config = AutoConfig.for_model(types[0], **own, **({"head_dim": 8} if hasattr(config, "head_dim") else {}))
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(folder)
        toy_tokenizer().save_pretrained(folder)
        return str(folder)

    def load(self, checkpoint: str) -> PreTrainedModel:
        """See `LoadedContract.load`."""
        return self.build(checkpoint)

    def build(self, checkpoint: str, options: Mapping[str, Any] | None = None) -> PreTrainedModel:
        """The model with its weights, in float32 and eval."""
        config = self.component.read_config(checkpoint, **(self.given_options if options is None else options))
        model: PreTrainedModel = self.component.load(checkpoint, config, torch.float32)
        return model.eval()

    def ids(self, rows: int = 2, length: int = 11) -> Tensor:
        """Token ids, (B, T), without special ones."""
        noise = torch.Generator().manual_seed(3)
        return torch.randint(5, 250, (rows, length), generator=noise)

    @check("read_config and build: a configuration of transformers, plain JSON, that makes the network of load")
    def test_config(self) -> None:
        """Its configuration survives JSON, is of the spec's types, and builds the same network."""
        config = self.component.read_config(self.checkpoint, **self.given_options)
        check_model_types(self.spec, self.checkpoint)
        again = type(config).from_dict(json.loads(json.dumps(config.to_dict())))
        shapes = {name: value.shape for name, value in self.build(self.checkpoint).state_dict().items()}
        made = {name: value.shape for name, value in self.component.build(again).state_dict().items()}
        assert made == shapes, (
            f"build makes other weights than load: {sorted(set(made.items()) ^ set(shapes.items()))[:2]}"
        )

    @check("read_tokenizer: a tokenizer with a padding token, whose ids the LLM has")
    def test_tokenizer(self) -> None:
        """Every id has a row in the LLM's table, text comes back, and there is a padding token."""
        tokenizer, model = self.component.read_tokenizer(self.checkpoint), self.build(self.checkpoint)
        assert tokenizer.pad_token_id is not None, "the tokenizer has no padding token"
        rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        largest = max(tokenizer.get_vocab().values())
        assert largest < rows, f"the tokenizer has id {largest}, the LLM {rows} rows"
        text = "Plain words, twice: plain words."
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        got = tokenizer.decode(ids)
        assert got.strip() == text, f"{text!r} comes back as {got!r}"

    @check("logits: what the model's own forward makes of its last hidden states, scales and caps too")
    def test_logits(self) -> None:
        """`logits` of the last hidden states, as training takes them, are the model's own."""
        model, ids = self.build(self.checkpoint), self.ids()
        backbone: Any = model.base_model
        with torch.no_grad():
            expected = model(input_ids=ids).logits
            got = self.component.logits(model, backbone(input_ids=ids).last_hidden_state)
        check_close(got, expected, self.tolerance, "logits(), and the model's own")

    @check("the LLM's forward: inputs_embeds in place of input_ids; whatever it adds to embeddings, it adds to both")
    def test_embeds(self) -> None:
        """Embeddings of ids give what the ids give; items come in as embeddings."""
        model, ids = self.build(self.checkpoint), self.ids()
        with torch.no_grad():
            expected = model(input_ids=ids).logits
            got = self._whole(model)(ids).logits
        check_close(got, expected, self.tolerance, "from embeddings, and from ids")

    @check("the LLM's mask: causal, whether a mask is given or None")
    def test_causal(self) -> None:
        """What comes later changes nothing before it; a mask of ones is no mask."""
        model, ids = self.build(self.checkpoint), self.ids()
        other = ids.clone()
        other[:, -1] = other[:, -1] % 200 + 7
        with torch.no_grad():
            expected = model(input_ids=ids).logits
            check_close(model(input_ids=other).logits[:, :-1], expected[:, :-1], self.tolerance, "before another token")
            masked = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        check_close(masked, expected, self.tolerance, "with a mask of ones, and with none")
        assert not torch.allclose(expected[:, -2], expected[:, -1]), "logits do not depend on the tokens"

    @check("the LLM's mask and positions: padding is not seen, and positions count from the first real token")
    def test_padding(self) -> None:
        """Padded on the left or on the right, a row gives what it gives alone."""
        model, ids = self._whole(self.build(self.checkpoint)), self.ids(1)
        with torch.no_grad():
            expected = model(ids).logits
            for left, right in ((3, 0), (0, 3)):
                padded = nn.functional.pad(ids, (left, right), value=9)
                mask = nn.functional.pad(torch.ones_like(ids), (left, right))
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                got = model(padded, attention_mask=mask, position_ids=positions).logits[:, left : left + ids.shape[1]]
                check_close(got, expected, self.tolerance, f"padded by {left} and {right}, and alone")

    @check("the LLM's forward: past_key_values and use_cache, as transformers' generate hands them on")
    def test_cache(self) -> None:
        """Token by token, with a cache, the logits are those of the whole."""
        model, ids = self.build(self.checkpoint), self.ids()
        with torch.no_grad():
            expected, past, got = model(input_ids=ids).logits, None, []
            for at in range(ids.shape[1]):
                out = model(input_ids=ids[:, at : at + 1], past_key_values=past, use_cache=True)
                past = out.past_key_values
                assert past is not None, "use_cache=True gives no past_key_values"
                got.append(out.logits)
        check_close(torch.cat(got, 1), expected, self.tolerance, "step by step with a cache, and at once")

    @check("the LLM's mask: build it from position_ids, in which each sample counts from 0; or say why not: not_packed")
    def test_packs(self) -> None:
        """Samples that share a row give what each gives alone."""
        if self.not_packed:
            raise DoesNotApply(self.not_packed)
        model, ids = self._whole(self.build(self.checkpoint)), self.ids(2, 7).tolist()
        samples = [[TextSpan(ids[0])], [TextSpan(ids[1][:5])]]
        with torch.no_grad():
            (packed, layout), alone = plan(samples, packs=[2]), [plan([sample]) for sample in samples]
            got = model(**packed, plan=layout, use_cache=False).logits[0]
            expected = torch.cat([model(**inputs, plan=each, use_cache=False).logits[0] for inputs, each in alone])
        check_close(got, expected, self.tolerance, "two samples in a row, and each alone")

    @check("the LLM: no detach, and no layer that is left out")
    def test_gradient(self) -> None:
        """Every parameter gets a gradient, the same with gradient checkpointing where it supports that."""
        model, ids = self.build(self.checkpoint).train(), self.ids()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        expected = _gradients(model, ids)
        cut = [name for name, gradient in expected.items() if gradient is None]
        assert not cut, f"no gradient reaches {', '.join(cut[:5])}"
        if not model.supports_gradient_checkpointing:
            return
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)  # of 5.24
        enable({"use_reentrant": False})
        for name, gradient in _gradients(model, ids).items():
            before = expected[name]
            assert gradient is not None, f"{name}: no gradient with gradient checkpointing"
            assert before is not None, f"{name}: no gradient"
            right = torch.allclose(gradient, before, atol=1e-5, rtol=1e-3)
            assert right, f"{name}: another gradient with gradient checkpointing"

    @check("the LLM's forward: keep to the dtype of the weights")
    def test_half(self) -> None:
        """In bfloat16 logits are finite and close."""
        ids = self.ids()
        with torch.no_grad():
            expected = self.build(self.checkpoint)(input_ids=ids).logits
            config = self.component.read_config(self.checkpoint, **self.given_options)
            model = self.component.load(self.checkpoint, config, torch.bfloat16).eval()
            got = model(input_ids=ids).logits
        assert next(model.parameters()).dtype == torch.bfloat16, "load does not give the dtype that is asked for"
        assert got.isfinite().all(), "bfloat16: logits are not finite"
        check_close(got.float(), expected, self.half_tolerance, "bfloat16, and float32")

    @check("the configuration class: registered with AutoConfig and AutoModelForCausalLM by the module of the target")
    def test_saved(self) -> None:
        """Inside a model it is saved and loaded whole, without its checkpoint, and generates the same."""
        model, ids, folder = self._whole(self.build(self.checkpoint)), self.ids(), self.folder
        model.save_pretrained(folder)
        again = TinyLlavaForConditionalGeneration.from_pretrained(folder, catalog=self._alone()).eval()
        with torch.no_grad():
            expected, got = (each(ids).logits for each in (model, again))
            check_close(got, expected, self.tolerance, "saved and loaded, and as it was")
            how: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
            tokens = [each.generate(ids[:1], **how).tolist() for each in (model, again)]
        assert tokens[0] == tokens[1], "saved and loaded, it generates other tokens"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """Its logits."""
        with torch.no_grad():
            return self.build(self.checkpoint, options)(input_ids=self.ids()).logits

    def _alone(self) -> Catalog:
        """A catalog of this LLM."""
        target = f"{self.component.__module__}:{self.component.__qualname__}"
        spec = self.spec or LanguageModelSpec(name="it", target=target)
        return Catalog(offers=(Offer(spec=spec, plugin="it", distribution="it", version="0"),))

    def _whole(self, llm: PreTrainedModel) -> TinyLlavaForConditionalGeneration:
        """A model of the kit around the LLM."""
        (offer,) = self._alone().offers
        config = TinyLlavaConfig(
            text_config=copy.deepcopy(llm.config), llm={"name": offer.spec.name, "distribution": "it"}
        )
        model = TinyLlavaForConditionalGeneration(config, catalog=self._alone())
        model.language_model.load_state_dict(llm.state_dict())
        return model.eval()


def _gradients(model: PreTrainedModel, ids: Tensor) -> dict[str, Tensor | None]:
    model.zero_grad()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
