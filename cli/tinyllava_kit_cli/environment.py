"""What the doctor says of the machine: Python, torch, transformers, devices, extras. Light: a child asks torch."""

from __future__ import annotations

import importlib
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from tinyllava_kit.plugin.child_process import Outcome, run_trials
from tinyllava_kit.plugin.doctor import Finding, unmet
from tinyllava_kit.plugin.isolation import describe

LIMIT_S = 120.0
_TORCH = "install torch as https://pytorch.org/get-started/locally says for this machine"


@dataclass(frozen=True, kw_only=True)
class Extra:
    """One extra of the kit: `modules` are what it brings to import."""

    name: str
    modules: tuple[str, ...]
    purpose: str

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f"pip install 'tinyllava-kit[{self.name}]'"

    @property
    def missing(self) -> list[str]:
        """Its modules that are not installed; none is imported."""
        return [module for module in self.modules if find_spec(module) is None]


EXTRAS = (
    Extra(name="audio", modules=("soundfile", "torchaudio"), purpose="sound files, and towers that hear"),
    Extra(name="datasets", modules=("datasets",), purpose="Hugging Face datasets and Parquet files as rows"),
    Extra(name="evaluate", modules=("jiwer",), purpose="word and character error rates: --scorer wer, cer"),
    Extra(name="quantize", modules=("bitsandbytes",), purpose="8 and 4 bit weights"),
    Extra(name="gguf", modules=("gguf",), purpose="export --to gguf"),
    Extra(name="serve", modules=("starlette", "uvicorn", "python_multipart", "httpx2"), purpose="the API of serve"),
    Extra(name="json", modules=("llguidance",), purpose="answers of serve in JSON of a schema"),
    Extra(name="show", modules=("matplotlib",), purpose="the drawings of show"),
)


def survey(*, probe: bool = False) -> list[Finding]:
    """A row for Python, torch, transformers, each device and each extra.

    Args:
        probe: also import what the installed extras bring, and run a quantized layer on each device.
    """
    (found,) = run_trials(look, [()], limit_s=LIMIT_S)
    rows = [_row("python", platform.python_version(), sys.executable), *_libraries(found)]
    devices = json.loads(found.facts.get("devices", "[]"))
    rows += [_row(device["name"], "", _device(device)) for device in devices]
    rows += _unused_gpu(found)
    rows += [_extra(extra) for extra in EXTRAS]
    return rows + (list(_probed([device["name"] for device in devices])) if probe else [])


def _row(name: str, version: str, detail: str, *, status: str = "ok", fix: str = "") -> Finding:
    return Finding(status=status, name=name, version=version, detail=detail, fix=fix)


def _libraries(found: Outcome) -> Iterator[Finding]:
    if found.error:
        yield _row("torch", _version("torch"), f"cannot be imported: {found.error}", status="broken", fix=_TORCH)
    else:
        yield _row("torch", found.facts["torch"], found.facts["built"])
    version = _version("transformers")
    if version:
        yield _row("transformers", version, "")


def look() -> Outcome:
    """Run in a child: which torch this is, and what its devices can do."""
    try:
        import torch

        built = torch.version.cuda or torch.version.hip
        facts = {"torch": torch.__version__, "cuda": built or "", "devices": json.dumps(list(_devices(torch)))}
        facts["built"] = f"for {'CUDA' if torch.version.cuda else 'ROCm'} {built}" if built else "without CUDA"
    except Exception as error:
        return Outcome(error=describe(error))
    return Outcome(facts=facts)


def _devices(torch: Any) -> Iterator[dict[str, Any]]:
    """The devices in the order in which a command takes them."""
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        what = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        yield {"name": f"cuda:{index}", "what": what, "native": native, "dtypes": _dtypes(torch, f"cuda:{index}")}
    if torch.backends.mps.is_available():
        yield {"name": "mps", "what": "Apple's GPU", "native": True, "dtypes": _dtypes(torch, "mps")}
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    what = f"{torch.get_num_threads()} threads"
    yield {"name": "cpu", "what": what, "native": native, "dtypes": _dtypes(torch, "cpu")}


def _dtypes(torch: Any, device: str) -> list[str]:
    """The dtypes in which a product of matrices works there."""
    works = []
    for name in ("float32", "bfloat16", "float16"):
        try:
            ones = torch.ones(2, 2, dtype=getattr(torch, name), device=device)
            if (ones @ ones).sum().item() == 8:
                works.append(name)
        except Exception:  # whatever a backend raises, it does not work
            continue
    return works


def _device(device: dict[str, Any]) -> str:
    dtypes = [
        f"{name} (emulated, slow)" if name == "bfloat16" and not device["native"] else name for name in device["dtypes"]
    ]
    if device["name"] == "mps":
        quantized = "no 8 or 4 bit weights"
    else:
        quantized = "8 and 4 bit weights" + ("" if _is_there("quantize") else " with the extra quantize")
    return f"{device['what']}; {', '.join(dtypes)}; {quantized}"


def _unused_gpu(found: Outcome) -> Iterator[Finding]:
    """A GPU that this torch does not find."""
    has_gpu = shutil.which("nvidia-smi") is not None
    if found.error or "cuda:0" in found.facts["devices"] or not (has_gpu or found.facts["cuda"]):
        return
    if found.facts["cuda"]:
        detail = f"this torch is built {found.facts['built']} and finds no GPU"
        fix = "'nvidia-smi' says whether there is one"
    else:
        detail, fix = "nvidia-smi is here, and this torch is built without CUDA", _TORCH
    yield _row("cuda", "", detail, status="absent", fix=fix)


def _is_there(name: str) -> bool:
    return not next(extra for extra in EXTRAS if extra.name == name).missing


def _extra(extra: Extra) -> Finding:
    """Whether an extra is installed, in the versions that the kit names."""
    name = f"[{extra.name}]"
    if extra.missing:
        return _row(name, "", f"{extra.purpose}: no {', '.join(extra.missing)}", status="absent", fix=extra.install)
    if wrong := unmet(extra.name):
        return _row(name, "", f"{extra.purpose}: {'; '.join(wrong)}", status="unmet", fix=f"{extra.install} --upgrade")
    have = ", ".join(f"{module} {_version(module)}".strip() for module in extra.modules)
    return _row(name, "", f"{extra.purpose}: {have}")


def _probed(devices: list[str]) -> Iterator[Finding]:
    """What of the installed extras cannot be imported or used."""
    items = [(module, extra.name, "") for extra in EXTRAS if not extra.missing for module in extra.modules]
    if _is_there("quantize"):
        items += [("bitsandbytes", "quantize", device) for device in devices if device != "mps"]
    for (module, extra, device), outcome in zip(items, run_trials(try_extra, items, limit_s=LIMIT_S), strict=True):
        if outcome.error:
            where = f" on {device}" if device else ""
            fix = f"pip install --force-reinstall {module}, or pip uninstall {module}"
            yield _row(f"[{extra}]", _version(module), f"{module}{where}: {outcome.error}", status="failed", fix=fix)


def try_extra(module: str, extra: str, device: str) -> Outcome:
    """Run in a child: import a module of an extra; with a device, run a layer of 8 bits on it."""
    try:
        imported = importlib.import_module(module)
        if device:
            import torch

            layer = imported.nn.Linear8bitLt(16, 16, has_fp16_weights=False).to(device)
            layer(torch.ones(1, 16, dtype=torch.float16 if device != "cpu" else torch.float32, device=device))
    except Exception as error:
        return Outcome(error=describe(error))
    return Outcome()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
