"""Compares what llama.cpp makes of a picture with what the model makes of it: its rows for the LLM.

    pip install llama-cpp-python
    tinyllava export my-model --to gguf -o gguf-out
    python -m examples.gguf.check_mtmd my-model gguf-out

llama-cpp-python brings llama.cpp's library for pictures, libmtmd, and builds it where there is no wheel. The picture is
noise of the size that the tower takes, so that nobody pads or scales it.

Legend: P rows of a picture, D width of the LLM.
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

from tinyllava_kit import load_pretrained

IMAGE_CHUNK = 1  # MTMD_INPUT_CHUNK_TYPE_IMAGE
CLOSE = 0.01  # of float32; the tables of GELU that llama.cpp has are of halves


def main() -> int:
    """The relative difference of all rows; 1 where it is large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model directory of this kit")
    parser.add_argument("exported", type=Path, help="what 'tinyllava export --to gguf' wrote of it")
    given = parser.parse_args()
    model, processor = load_pretrained(given.model)
    tower: Any = model.towers["image"]
    side = tower.vision_config.image_size
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ours = our_rows(model, processor, Image.fromarray(noise))  # (P, D)
    theirs = llama_cpps_rows(given.exported, noise, ours.shape)  # (P, D)
    if tower.num_prefix:  # llama.cpp has them one place early, and the class token's last
        ours, theirs = ours[1:], theirs[:-1]
    difference = float((theirs - ours).norm() / ours.norm())
    print(f"{len(ours)} rows compared, relative difference {difference:.1e}")
    return int(difference > CLOSE)


@torch.no_grad()
def our_rows(model: Any, processor: Any, picture: Image.Image) -> torch.Tensor:
    """(P, D) float32."""
    batch = processor([{"role": "user", "content": [{"type": "image", "image": picture}]}])
    return model(items=batch["items"]).item_embeddings["image"][0].float()


def llama_cpps_rows(folder: Path, noise: np.ndarray, shape: torch.Size) -> torch.Tensor:
    """(P, D) float32 of a picture (H, W, 3) of bytes."""
    import llama_cpp
    from llama_cpp import mtmd_cpp as mtmd

    how = llama_cpp.llama_model_default_params()
    llm = llama_cpp.llama_model_load_from_file(str(folder / "model.gguf").encode(), how)
    options = mtmd.mtmd_context_params_default()
    options.use_gpu, options.warmup = False, False
    context = mtmd.mtmd_init_from_file(str(folder / "mmproj.gguf").encode(), llm, options)
    if not context:
        raise SystemExit(f"llama.cpp does not read {folder}")
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
    rows = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
    if rows != shape[0] or mtmd.mtmd_encode_chunk(context, chunk):
        raise SystemExit(f"llama.cpp makes {rows} rows of the picture, the model {shape[0]}")
    found = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(context), shape=tuple(shape)).copy()
    return torch.from_numpy(found)


if __name__ == "__main__":
    sys.exit(main())
