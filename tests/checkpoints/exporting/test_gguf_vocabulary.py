"""A tokenizer for llama.cpp: its splitting has a name, its scores are SentencePiece's, what cannot be is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.golden_models import GOLDEN
from tinyllava_kit import KitError
from tinyllava_kit.checkpoints.exporting import gguf_vocabulary as kinds
from tinyllava_kit.checkpoints.exporting.gguf_vocabulary import read_vocabulary

TOKENIZERS = GOLDEN / "data" / "tokenizers"
TEXTS = ("Hello, world 12!", "the a  b\nnew é 漢", " the cat's hat", "USER: What's there? ASSISTANT:", "x")


def byte_level(splitting, **model):
    """A small byte-level tokenizer with two added tokens, one of them special."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = splitting
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the cat's hat 12 34"] * 9, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    made.add_tokens(["<mine>"])
    return made


def whole(*steps):
    return steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(list(steps))


LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


@pytest.mark.parametrize(("steps", "pre"), [((LEVEL,), "gpt-2"), ((DIGITS, LEVEL), "smollm")])
def test_a_byte_level_tokenizer_is_known_by_how_it_splits_text(steps, pre):
    tokenizer = byte_level(whole(*steps))
    vocabulary = read_vocabulary(tokenizer, len(tokenizer) + 2)
    assert (vocabulary.model, vocabulary.pre, vocabulary.space_prefix) == ("gpt2", pre, False)
    assert [vocabulary.tokens.index(text) for text in ("<|end|>", "<mine>")] == tokenizer.convert_tokens_to_ids(
        ["<|end|>", "<mine>"]
    )
    end, mine = (vocabulary.tokens.index(text) for text in ("<|end|>", "<mine>"))
    assert (vocabulary.types[end], vocabulary.types[mine]) == (kinds.CONTROL, kinds.USER_DEFINED)
    assert vocabulary.special == {"eos": end}
    assert vocabulary.tokens[-2:] == [f"[PAD{len(tokenizer)}]", f"[PAD{len(tokenizer) + 1}]"]
    assert vocabulary.types[-2:] == [kinds.UNUSED] * 2
    merges = [tuple(merge.split(" ")) for merge in vocabulary.merges]
    again = Tokenizer(models.BPE({text: n for n, text in enumerate(vocabulary.tokens)}, merges))
    again.pre_tokenizer = whole(*steps)
    assert all(again.encode(text).ids == tokenizer(text)["input_ids"] for text in TEXTS)


@pytest.mark.parametrize(("name", "pre"), [("phi", "gpt-2"), ("stablelm", "gpt-2"), ("qwen2_base", "qwen2")])
def test_tokenizers_of_known_llms_have_their_names(name, pre):
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / name)
    assert read_vocabulary(tokenizer, len(tokenizer)).pre == pre


@pytest.mark.parametrize("name", ["llama_legacy_false", "llama_legacy_true"])
def test_scores_are_in_the_order_of_sentencepieces_own(name):
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / name)
    vocabulary = read_vocabulary(tokenizer, len(tokenizer))
    assert (vocabulary.model, vocabulary.space_prefix) == ("llama", True)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZERS / name / "tokenizer.model"))
    assert vocabulary.tokens == [theirs.id_to_piece(n) for n in range(theirs.get_piece_size())]
    merged = [n for n, score in enumerate(vocabulary.scores) if score > min(vocabulary.scores)]
    assert len(merged) > 10
    assert sorted(merged, key=lambda n: -vocabulary.scores[n]) == sorted(merged, key=lambda n: -theirs.get_score(n))
    expected = {
        number: kinds.UNKNOWN
        if theirs.is_unknown(number)
        else kinds.CONTROL
        if theirs.is_control(number)
        else kinds.BYTE
        if theirs.is_byte(number)
        else kinds.NORMAL
        for number in range(theirs.get_piece_size())
    }
    assert dict(enumerate(vocabulary.types)) == expected


def slow_pieces(text, vocabulary):
    """What llama.cpp does: of neighbours whose text is a token, those of the best score are joined, the left first."""
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    symbols = list(text.replace(" ", "\u2581"))
    if vocabulary.space_prefix:
        symbols.insert(0, "\u2581")
    while True:
        found = [
            (-vocabulary.scores[ids[left + right]], at)
            for at, (left, right) in enumerate(pairwise(symbols))
            if left + right in ids
        ]
        if not found:
            break
        at = min(found)[1]
        symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
    out = []
    for symbol in symbols:
        out += [ids[symbol]] if symbol in ids else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return out


# Of a text that begins with a space, llama.cpp (as SentencePiece) makes one with two, the tokenizer one with one.
@pytest.mark.parametrize("name", ["llama_legacy_false", "gemma"])
@pytest.mark.parametrize("text", [text for text in TEXTS if not text.startswith(" ")])
def test_joining_by_scores_gives_the_tokenizers_ids(text, name):
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / name)
    vocabulary = read_vocabulary(tokenizer, len(tokenizer))
    assert slow_pieces(text, vocabulary) == tokenizer(text, add_special_tokens=False)["input_ids"]


def refusing(**changes):
    tokenizer = byte_level(changes.pop("splitting", LEVEL), **changes.pop("model", {}))
    for name, value in changes.items():
        setattr(tokenizer.backend_tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"splitting": pre_tokenizers.Whitespace()},
            r"splits text by Whitespace, which is none .*\(gpt-2, smollm, qwen2",
        ),
        ({"splitting": whole(DIGITS, DIGITS, LEVEL)}, r"splits text by Digits \+ Digits \+ ByteLevel"),
        ({"splitting": pre_tokenizers.ByteLevel(add_prefix_space=True)}, "splits text by ByteLevel"),
        ({"normalizer": normalizers.Lowercase()}, "splits text by ByteLevel"),
        ({"model": {"ignore_merges": True}}, "splits text by ByteLevel"),
        ({"model": {"byte_fallback": True}}, "in ways that SentencePiece's Llama tokenizers do not"),
    ],
)
def test_a_tokenizer_without_a_name_is_refused(changes, match):
    tokenizer = refusing(**changes)
    with pytest.raises(KitError, match=match):
        read_vocabulary(tokenizer, len(tokenizer))


def test_a_tokenizer_of_another_kind_is_named():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")))
    with pytest.raises(KitError, match=r"tokenizer TokenizersBackend \(''\) is a WordLevel"):
        read_vocabulary(tokenizer, 2)


def test_more_tokens_than_embeddings_are_refused():
    tokenizer = byte_level(LEVEL)
    with pytest.raises(KitError, match=rf"has {len(tokenizer)} tokens, the LLM's embeddings {len(tokenizer) - 1} rows"):
        read_vocabulary(tokenizer, len(tokenizer) - 1)


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast, name_or_path = False, "far/away"

    with pytest.raises(KitError, match=r"tokenizer Slow \('away'\) has no tokenizer.json"):
        read_vocabulary(Slow(), 3)


def test_merges_that_no_score_can_order_are_refused():
    """The piece "abc" is merged in two ways, with "xy" between them: it would need two scores."""
    vocab = {text: number for number, text in enumerate(["a", "b", "c", "x", "y", "ab", "bc", "abc", "xy"])}
    merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("x", "y"), ("a", "bc")]
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(KitError, match="its merges are not in the order of pieces"):
        read_vocabulary(tokenizer, 9)
