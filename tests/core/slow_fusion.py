"""The obvious way to lay out a batch: one position at a time. What the kernel is compared with."""

from __future__ import annotations

import torch

from tinyllava_kit.core.spans import IGNORE_INDEX, ItemSpan, TextSpan


def slow_rows(sample, counters, features, table, max_length):
    """One sample as a list of (row (D,), id or None, label); stops in front of what does not fit whole."""
    out, full = [], False
    for span in sample:
        if isinstance(span, TextSpan):
            for position, token in enumerate(span.ids):
                if full or (max_length is not None and len(out) == max_length):
                    full = True
                    break
                label = span.labels[position] if span.labels is not None else IGNORE_INDEX
                out.append((table[token], token, label))
        elif isinstance(span, ItemSpan):
            index = counters[span.modality] = counters.get(span.modality, -1) + 1
            if full or (max_length is not None and len(out) + span.num_tokens > max_length):
                full = True
                continue
            for row in range(span.num_tokens):
                out.append((features[span.modality][index][row], None, IGNORE_INDEX))
    return out


def slow_fuse(samples, features, table, *, pad_id, padding_side, max_length, packs=None):
    """-> embeddings (B, T, D), ids, mask, positions, labels, each (B, T)."""
    counters: dict[str, int] = {}
    waiting = [slow_rows(sample, counters, features, table, max_length) for sample in samples]
    rows = []
    for size in packs or [1] * len(samples):
        rows.append([])
        for _ in range(size):
            for position, (vector, token, label) in enumerate(waiting.pop(0)):
                rows[-1].append((vector, token, label if position else IGNORE_INDEX, position))
    length = max((len(r) for r in rows), default=0)
    embeds = torch.zeros(len(rows), length, table.shape[1])
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORE_INDEX)
    for b, row in enumerate(rows):
        shift = length - len(row) if padding_side == "left" else 0
        for t, (vector, token, label, position) in enumerate(row):
            embeds[b, shift + t] = vector
            ids[b, shift + t] = pad_id if token is None else token
            mask[b, shift + t] = 1
            positions[b, shift + t] = position
            labels[b, shift + t] = label
    return embeds, ids, mask, positions, labels
