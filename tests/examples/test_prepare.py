"""What the easy-VQA demo gets and converts, on tiny stand-ins; nothing is downloaded."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from examples.easy_vqa import prepare
from tinyllava_kit import KitError

pytestmark = pytest.mark.slow


def test_the_script_ends_with_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no network\n"))
    assert prepare.main(["--out", str(tmp_path / "demo")]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: cannot get easy-vqa==1.0: no network; check the network")
    assert said.err.count("\n") == 1


# --- the language model ---

HEADS, KV_HEADS, HEAD_DIM, LAYERS = 3, 1, 4, 2

FIELDS = {
    "llama.vocab_size": 11,
    "llama.embedding_length": HEADS * HEAD_DIM,
    "llama.feed_forward_length": 19,
    "llama.block_count": LAYERS,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.context_length": 64,
    "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
    "llama.rope.freq_base": 100000.0,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.padding_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.tokens": [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "a",
        "b",
        "ab",
        "1",
        "2",
        "12",
        "Ġ",
        "Ġab",
    ],
    "tokenizer.ggml.token_type": [3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b", "1 2", "Ġ ab"],
    "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
}

GGUF_NAMES = {  # as the format's own description lists them
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def to_gguf(state: dict[str, torch.Tensor]) -> list[tuple[str, np.ndarray]]:
    """A toy Llama's weights as a GGUF file has them."""
    tensors = [
        ("token_embd.weight", state["model.embed_tokens.weight"].numpy()),
        ("output_norm.weight", state["model.norm.weight"].numpy()),
    ]
    for layer in range(LAYERS):
        for ours, theirs in GGUF_NAMES.items():
            weight = state[f"model.layers.{layer}.{ours}.weight"].numpy()
            if theirs in ("attn_q", "attn_k"):
                weight = side_by_side(weight)
            tensors.append((f"blk.{layer}.{theirs}.weight", weight))
    return tensors


def side_by_side(weight: np.ndarray) -> np.ndarray:
    """Rows i and i + d/2 of every head, which turn together, put next to each other."""
    rows = []
    for start in range(0, len(weight), HEAD_DIM):
        for i in range(HEAD_DIM // 2):
            rows += [weight[start + i], weight[start + i + HEAD_DIM // 2]]
    return np.stack(rows)


def test_weights_of_a_gguf_file_are_those_of_the_llama_it_was_made_from():
    torch.manual_seed(0)
    model = LlamaForCausalLM(prepare.llama_config(FIELDS))
    state = {key: torch.randn_like(tensor) for key, tensor in model.state_dict().items()}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]  # tied
    found = prepare.llama_weights(to_gguf(state), HEADS, KV_HEADS)
    assert found.keys() == state.keys() - {"lm_head.weight"}
    for key, tensor in found.items():
        assert torch.equal(tensor, state[key]), key


def test_the_configuration_of_a_gguf_file_is_a_llamas():
    config = prepare.llama_config(FIELDS)
    assert isinstance(config, LlamaConfig)
    assert (config.hidden_size, config.num_hidden_layers, config.head_dim) == (12, 2, 4)
    assert (config.num_attention_heads, config.num_key_value_heads) == (HEADS, KV_HEADS)
    assert (config.rms_norm_eps, config.rope_parameters["rope_theta"]) == (1e-05, 100000.0)
    assert config.tie_word_embeddings is True


def test_the_tokenizer_of_a_gguf_file_splits_digits_and_knows_its_control_tokens(tmp_path):
    from transformers import AutoTokenizer

    prepare.gguf_tokenizer(FIELDS).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("ab ab12<|im_end|>").input_ids == [5, 10, 6, 7, 2]  # 1 and 2, though there is a token 12
    assert tokenizer.decode([5, 10, 6, 7, 2], skip_special_tokens=True) == "ab ab12"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.unk_token == "<|endoftext|>"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab"


# --- the tower ---


def toy_network() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.BatchNorm2d(5))


def test_weights_are_copied_by_their_order_counters_left_out():
    torch.manual_seed(1)
    state = {key: torch.randn(tensor.shape) for key, tensor in toy_network().state_dict().items()}
    given = {f"other_{i}": tensor for i, (key, tensor) in enumerate(state.items()) if "num_batches" not in key}
    model = toy_network()
    assert prepare.copy_by_order(model, {**given, "bn.num_batches_tracked": torch.tensor(9)}) == 6
    for key, tensor in model.state_dict().items():
        assert "num_batches" in key or torch.equal(tensor, state[key])


def test_another_number_of_tensors_is_refused():
    with pytest.raises(KitError, match=r"the file has 1 tensors, the model 6; another version of timm may fit"):
        prepare.copy_by_order(toy_network(), {"w": torch.zeros(5, 3, 1, 1)})


def test_another_shape_is_refused_by_name():
    state = dict(toy_network().state_dict())
    state["1.bias"] = torch.zeros(7)
    with pytest.raises(KitError, match=r"1\.bias has shape \(7,\), 1\.bias of the model \(5,\)"):
        prepare.copy_by_order(toy_network(), state)


# --- the data ---

QUESTIONS = [
    ("what is the red shape?", "triangle", 0),
    ("is there a circle?", "no", 0),
    ("what color is the shape?", "red", 0),
    ("is there not a circle?", "yes", 0),
    ("what is the shape?", "circle", 1),
    ("is a blue shape present?", "no", 1),
]


def pairs(row: dict) -> list[tuple[str, str]]:
    said = [turn["value"] for turn in row["conversations"]]
    return list(zip(said[::2], said[1::2], strict=True))


MANY = [(f"question {i} of {n}", "yes", n) for n in range(5) for i in range(4 + n % 2)]


def test_rows_ask_every_question_once_behind_its_own_picture():
    rows = prepare.conversation_rows(MANY, "train")
    found = []
    for row in rows:
        pictures = iter(row["image"])
        picture = ""
        for question, _ in pairs(row):
            picture = next(pictures) if question.startswith("<image>\n") else picture
            found.append((question.removeprefix("<image>\n"), picture))
        assert next(pictures, None) is None
    assert sorted(found) == sorted((text, f"images/train/{number}.png") for text, _, number in MANY)


def test_a_row_holds_four_pictures_and_three_questions_of_each_at_most():
    rows = prepare.conversation_rows(MANY, "train")
    assert [len(row["image"]) for row in rows] == [4, 1, 4, 1]
    assert [len(pairs(row)) for row in rows[:2]] == [12, 3]
    assert len({name for row in rows[:2] for name in row["image"]}) == 5


def test_the_order_is_drawn_with_a_fixed_seed():
    rows = prepare.conversation_rows(MANY, "train")
    assert rows == prepare.conversation_rows(reversed(MANY), "train")
    asked = [question.removeprefix("<image>\n") for row in rows for question, _ in pairs(row)]
    assert asked != sorted(asked)


def test_a_test_row_holds_one_question():
    rows = prepare.question_rows(QUESTIONS, "test")
    assert [pairs(row) for row in rows] == [[(f"<image>\n{text}", answer)] for text, answer, _ in QUESTIONS]
    assert len({row["id"] for row in rows}) == len(QUESTIONS)
    assert rows[-1]["image"] == ["images/test/1.png"]


BALANCED = [
    *[("is there a circle?", "yes", n) for n in range(3)],
    *[("is there a circle?", "no", n) for n in range(3, 9)],
    ("is no circle present?", "yes", 9),
]


def test_balanced_questions_have_as_many_of_yes_as_of_no_for_every_wording():
    asked = [*BALANCED, ("what shape is present?", "circle", 0)]
    kept = prepare.balanced(asked)
    assert sorted(answer for _, answer, _ in kept) == ["no"] * 3 + ["yes"] * 3
    assert {text for text, _, _ in kept} == {"is there a circle?"}
    assert kept == prepare.balanced(list(reversed(asked)))


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ([("what is the red shape?", "triangle", 0)], {0: "red triangle"}),
        ([("what color is the shape?", "teal", 0), ("what shape is present?", "circle", 0)], {0: "teal circle"}),
        ([("is there a red shape?", "yes", 0), ("is there not a circle?", "no", 0)], {0: "red circle"}),
        ([("is there a red shape?", "no", 0), ("is no circle present?", "yes", 0)], {}),
        ([("what color is the shape?", "teal", 0)], {}),
    ],
)
def test_a_picture_is_described_by_what_its_questions_affirm(asked, shown):
    assert prepare.descriptions(asked) == shown


def test_a_described_row_holds_the_picture_its_text_the_question_and_the_answer():
    asked = [("is it red?", "no", 3), ("is it red?", "no", 4)]
    (row,) = prepare.described_rows(asked, {3: "blue circle"}, "train")
    user, assistant = row["messages"]
    assert user["content"][0] == {"type": "image", "path": "images/train/3.png", "text": "blue circle"}
    assert user["content"][1]["text"] == "\nis it red?"
    assert assistant == {"role": "assistant", "content": "no"}


def test_described_rows_ask_everything_once_in_an_order_drawn_with_a_fixed_seed():
    asked = [(f"is it {word}?", "no", number) for number in range(6) for word in ("red", "blue", "a circle")]
    rows = prepare.described_rows(asked, dict.fromkeys(range(6), "blue circle"), "train")
    texts = [row["messages"][0]["content"][1]["text"].strip() for row in rows]
    assert sorted(texts) == sorted(text for text, *_ in asked)
    assert texts != [text for text, *_ in asked]
    assert rows == prepare.described_rows(asked, dict.fromkeys(range(6), "blue circle"), "train")


def test_the_data_directory_holds_rows_and_the_pictures_they_name(tmp_path):
    wheel = tmp_path / "toy.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for split in ("train", "test"):
            archive.writestr(f"easy_vqa/data/{split}/questions.json", json.dumps(QUESTIONS))
            for number in (0, 1):
                archive.writestr(f"easy_vqa/data/{split}/images/{number}.png", picture(split, number))
        archive.writestr("easy_vqa/data/.DS_Store", "")
    (tmp_path / "out").mkdir()
    said = prepare.make_data(wheel, tmp_path / "out")
    train = "train 2 pictures, 6 questions: 2 rows in train.json, 0 rows in compare.json, 2 rows in open.json"
    train += "; 4 pairs of a picture, as it is or mirrored, and its text in shown.json"
    assert said == f"{train}; test 2 pictures, 6 questions: 6 rows in test.json, 0 rows in balanced.json"
    for split in ("train", "test"):
        for row in json.loads((tmp_path / "out" / f"{split}.json").read_text()):
            for name in row["image"]:
                assert (tmp_path / "out" / name).read_bytes() == picture(split, int(name.split("/")[-1][0]))
    assert len(list((tmp_path / "out").rglob("*.*"))) == 13


def test_a_described_picture_is_shown_as_it_is_and_mirrored(tmp_path):
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "7.png").write_bytes(picture("train", 7))
    rows = prepare.mirror_pictures(tmp_path, {7: "red circle"})
    assert {row["text"] for row in rows} == {"red circle"}
    as_it_is, across, down, both = (np.asarray(Image.open(tmp_path / row["image"])) for row in rows)
    np.testing.assert_array_equal(across, as_it_is[:, ::-1])
    np.testing.assert_array_equal(down, as_it_is[::-1])
    np.testing.assert_array_equal(both, as_it_is[::-1, ::-1])
    assert len({each.tobytes() for each in (as_it_is, across, down, both)}) == 4


def picture(split: str, number: int) -> bytes:
    """A PNG file of noise that is the picture's own."""
    noise = np.random.default_rng([len(split), number]).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()
