"""Compares an exported model as llama.cpp runs it with the model: its ids, its logits, its rows of a picture.

    pip install llama-cpp-python
    tinyllava export my-model --to gguf -o gguf-out
    python -m examples.gguf.compare my-model gguf-out

llama-cpp-python brings llama.cpp and its library for pictures, libmtmd, and builds them where there is no wheel. The
picture is noise of the size that the tower takes, so that nobody pads or scales it.

Legend: T tokens, V vocabulary, P rows of a picture, D width of the LLM.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tinyllava_kit import load_pretrained

TEXT = "What is in the picture? Answer in a few words."
IMAGE_CHUNK = 1  # MTMD_INPUT_CHUNK_TYPE_IMAGE
CLOSE = 0.01  # llama.cpp keeps keys and values in float16, and looks GELU up in a table of float16


def main() -> int:
    """Print the relative differences; 1 where one is large or the ids differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model directory of this kit")
    parser.add_argument("exported", type=Path, help="what 'tinyllava export --to gguf' wrote of it")
    given = parser.parse_args()
    model, processor = load_pretrained(given.model)
    llm = open_llm(given.exported / "model.gguf")
    fits = [compare_text(model, processor, llm)]
    if (given.exported / "mmproj.gguf").is_file():
        fits.append(compare_picture(model, processor, llm, given.exported / "mmproj.gguf"))
    return int(not all(fits))


@torch.no_grad()
def compare_text(model: Any, processor: Any, llm: Any) -> bool:
    """The ids of a text, and the logits behind each of them."""
    ids = processor.tokenizer(TEXT, add_special_tokens=False).input_ids
    same = llama_cpp_ids(llm) == ids
    expected = model.language_model(torch.tensor([ids])).logits[0].float()  # (T, V)
    difference = relative(llama_cpp_logits(llm, ids, expected.shape), expected)
    print(f"ids: {'the same' if same else 'not the same'}; logits of {len(ids)} tokens: differ by {difference:.1e}")
    return same and difference < CLOSE


@torch.no_grad()
def compare_picture(model: Any, processor: Any, llm: Any, mmproj: Path) -> bool:
    """The rows of a picture; of a tower with a class token also the rows at the places where llama.cpp has them."""
    tower = model.towers["image"]
    side = tower.vision_config.image_size
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture = {"type": "image", "image": Image.fromarray(noise)}
    items = processor([{"role": "user", "content": [picture]}])["items"]
    expected = model(items=items).item_embeddings["image"][0].float()  # (P, D)
    found = llama_cpp_rows(llm, mmproj, noise, expected.shape)  # (P, D)
    print(f"{len(expected)} rows of a picture: differ by {(difference := relative(found, expected)):.1e}")
    if not tower.num_prefix:
        return difference < CLOSE
    early = relative(found[:-1], expected[1:])
    print(f"llama.cpp reads on from the second row; {len(expected) - 1} rows one place early: differ by {early:.1e}")
    return early < CLOSE


def relative(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference as a part of the norm."""
    return float((found - expected).norm() / expected.norm())


def open_llm(file: Path) -> Any:
    """llama.cpp's model."""
    import llama_cpp

    llm = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    if not llm:
        raise SystemExit(f"llama.cpp does not read {file}")
    return llm


def llama_cpp_ids(llm: Any) -> list[int]:
    """The ids of the text, no begin token in front."""
    import llama_cpp

    ids = (llama_cpp.llama_token * 1024)()
    vocabulary = llama_cpp.llama_model_get_vocab(llm)
    count = llama_cpp.llama_tokenize(vocabulary, TEXT.encode(), len(TEXT.encode()), ids, len(ids), False, True)
    return list(ids[:count])


def llama_cpp_logits(llm: Any, ids: list[int], shape: torch.Size) -> Tensor:
    """(T, V) float32."""
    import llama_cpp

    context = llama_cpp.llama_init_from_model(llm, llama_cpp.llama_context_default_params())
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
    if llama_cpp.llama_decode(context, batch):
        raise SystemExit("llama.cpp does not run the LLM")
    rows = [llama_cpp.llama_get_logits_ith(context, place) for place in range(len(ids))]
    return torch.from_numpy(np.stack([np.ctypeslib.as_array(row, shape=(shape[1],)) for row in rows]))


def llama_cpp_rows(llm: Any, mmproj: Path, noise: np.ndarray, shape: torch.Size) -> Tensor:
    """(P, D) float32 of a picture (H, W, 3) of bytes."""
    from llama_cpp import mtmd_cpp as mtmd

    options = mtmd.mtmd_context_params_default()
    options.use_gpu, options.warmup = False, False
    context = mtmd.mtmd_init_from_file(str(mmproj).encode(), llm, options)
    if not context:
        raise SystemExit(f"llama.cpp does not read {mmproj}")
    chunk = picture_chunk(mtmd, context, noise)
    rows = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
    if rows != shape[0] or mtmd.mtmd_encode_chunk(context, chunk):
        raise SystemExit(f"llama.cpp makes {rows} rows of the picture, the model {shape[0]}")
    found = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(context), shape=tuple(shape)).copy()
    return torch.from_numpy(found)


def picture_chunk(mtmd: Any, context: Any, noise: np.ndarray) -> Any:
    """The part of a prompt that is the picture."""
    pixels = np.ascontiguousarray(noise)
    pointer = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    bitmap = mtmd.mtmd_bitmap_init(noise.shape[1], noise.shape[0], pointer)
    marker = mtmd.mtmd_default_marker()
    text = mtmd.mtmd_input_text(text=marker, text_len=len(marker), add_special=False, parse_special=True)
    chunks = mtmd.mtmd_input_chunks_init()
    bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
    if mtmd.mtmd_tokenize(context, chunks, ctypes.byref(text), bitmaps, 1):
        raise SystemExit("llama.cpp does not take the picture")
    every = [mtmd.mtmd_input_chunks_get(chunks, number) for number in range(mtmd.mtmd_input_chunks_size(chunks))]
    (chunk,) = [each for each in every if mtmd.mtmd_input_chunk_get_type(each) == IMAGE_CHUNK]
    return chunk


if __name__ == "__main__":
    sys.exit(main())
