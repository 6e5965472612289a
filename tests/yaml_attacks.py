"""Texts that YAML reads as what nobody expects."""

from __future__ import annotations

_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)

ATTACKS: tuple[bytes, ...] = tuple(
    text.encode()
    for text in (
        _BOMB,
        f"{_BOMB}llm: *a9\ntowers: {{image: *a9}}\nmodel: *a9\noutput: *a8\nstages: *a9\n",
        "a: &a [*a]\nllm: *a\nstages: *a\n",
        "a: &a {b: *a}\nmodel: *a\nstages: [*a]\nllm: *a\n",
        "llm: " + "[" * 3000 + "]" * 3000,
        "stages: " + "{a: " * 3000 + "}" * 3000,
        "- " * 3000 + "a",
        "llm: a\nllm: b\n",
        "model: a\nmodel: b\nstages: []\n",
        "llm: 2020-01-01\nmodel: 2020-01-01 10:00:00\nstages: []\n",
        "llm: 2020-13-41\n",
        "1: a\nllm: llama\n",
        "{1: a, b: c, null: d, true: e}",
        "llm: {1: a, b: c}\n",
        "? [a, b]\n: c\n",
        "? {a: b}\n: c\n",
        "llm:\tx\n\ttowers: y\n",
        "llm: !!python/object/apply:os.system [echo]\n",
        "llm: !!binary aGk=\n",
        "llm: !!set {a, b}\n",
        "llm: !!omap [a: b]\n",
        "llm: !!int x\n",
        "llm: !!float x\n",
        "llm: !!timestamp x\n",
        "llm: !!bool x\n",
        "llm: !!null x\n",
        "llm: !unknown x\n",
        "<<: [1]\n",
        "<<: {llm: a}\nllm: b\n",
        f"seed: {'9' * 5000}\nmodel: a\noutput: b\nstages: []\n",
        f"seed: 0x{'f' * 5000}\nmodel: a\noutput: b\nstages: []\n",
        f"llm: 0x{'f' * 5000}\n",
        "llm: {name: llama, options: {a: 0x" + "f" * 5000 + "}}\n",
        "seed: .nan\nmodel: a\noutput: b\nstages: []\n",
        "--- a\n--- b\n",
        "%YAML 9.9\n---\nllm: a\n",
        "llm: 'a\n",
        "llm: *nobody\n",
        "llm: \x00\n",
        "llm: \x1b[2J\n",
        "",
        "~",
        "[]",
        "x" * 100_000,
        "\ufeffllm: llama\n",
    )
)
