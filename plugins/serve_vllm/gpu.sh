#!/usr/bin/env bash
# On a machine with CUDA: vLLM's answers beside the kit's, and requests a second. gpu.sh MODEL PICTURE
set -euo pipefail
model=$(realpath "$1")
picture=$(realpath "$2")
cd "$(dirname "$0")/../.."
venv=${VENV:-.venv}-vllm-gpu
test -x "$venv/bin/python" || "${PYTHON:-python3.11}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet vllm
# the kit takes the versions that vLLM has brought
"$venv/bin/python" -m pip install --quiet -e '.[audio]' -e plugins/serve_vllm -e plugins/vision_clip \
	-e plugins/vision_siglip -e plugins/vision_dinov2 -e plugins/vision_timm -e plugins/audio_whisper \
	-e plugins/llm_hf -e plugins/llm_tinyllama
"$venv/bin/python" plugins/serve_vllm/compare.py "$model" "$picture"
