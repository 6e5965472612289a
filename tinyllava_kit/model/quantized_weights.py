"""What bitsandbytes' quantized weights need to be loaded, saved and trained."""

from __future__ import annotations

from torch import nn


def missing_scales(model: nn.Module) -> list[str]:
    """What quantized weights need beside them and did not get; transformers loads them all the same.

    The layers are bitsandbytes', known by name: it need not be installed.
    """
    missing = []
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind == "Linear8bitLt" and getattr(module.weight, "SCB", None) is None:
            missing.append(f"{name}.SCB")
        if kind == "Linear4bit":
            state = getattr(module.weight, "quant_state", None)
            if state is None:
                missing.append(f"{name}.weight.absmax")
            elif not state.nested and not state.absmax.is_floating_point():  # scales that are quantized themselves
                missing.append(f"{name}.weight.nested_absmax")
    return missing


def has_repacked_weights(model: nn.Module) -> bool:
    """Whether bitsandbytes has laid 4-bit weights out for the CPU, as it does on some when they are first used.

    Reading the state dict undoes it but for the scales, which were rounded, and without double quantization are left in
    another order; the model itself is then wrong, too. What stays is the note of how the weight was before.
    """
    states = (getattr(parameter, "quant_state", None) for parameter in model.parameters())
    return any(hasattr(state, "original_qshape") for state in states)
