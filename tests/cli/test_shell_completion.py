"""What a shell completes."""

from __future__ import annotations

import pytest

from tinyllava_kit_cli import app

pytestmark = pytest.mark.usefixtures("senses")


def completed(line: str, monkeypatch, capsys, shell: str = "zsh") -> list[str]:
    """What may stand where the line ends, as the function of that shell is told."""
    words = line.split(" ")
    monkeypatch.setenv("_TINYLLAVA_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        app.main([])
    assert ended.value.code == 0
    out = capsys.readouterr().out.splitlines()
    if out == [""]:
        return []
    if shell == "zsh":
        return [
            value.replace("\\:", ":") if kind == "plain" else kind
            for kind, value in zip(out[::3], out[1::3], strict=True)
        ]
    pairs = [each.partition(",")[::2] for each in out]
    return [value.partition("\t")[0] if kind == "plain" else kind for kind, value in pairs]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("tinyllava inf", ["info"]),
        ("tinyllava dan", ["dance"]),
        ("tinyllava list t", ["tower", "template"]),
        ("tinyllava info n", ["nose"]),
        ("tinyllava info ", ["smell", "taste", "nose", "tongue", "linear", "tiny", "exact", "loose", "task", "dance"]),
        ("tinyllava assemble --llm t", ["tiny"]),
        ("tinyllava assemble --llm tiny:", ["tiny:model/"]),
        ("tinyllava assemble --tower ", ["smell=", "taste="]),
        ("tinyllava assemble --tower smell=", ["smell=nose"]),
        ("tinyllava assemble --tower=taste=t", ["taste=tongue"]),
        ("tinyllava assemble --tower taste=tongue:mo", ["taste=tongue:model/"]),
        ("tinyllava assemble --connector taste=", ["taste=linear"]),
        ("tinyllava ask ", ["dir"]),
        ("tinyllava ask model --item sm", ["smell="]),
        ("tinyllava ask model --item smell=", ["smell=a.png", "smell=model/", "smell=rows.json"]),
        ("tinyllava ask model --item smell=.h", ["smell=.hidden/"]),
        ("tinyllava ask model --smell ", ["file"]),
        ("tinyllava ask model --sm", ["--smell"]),
        ("tinyllava ask model --device c", ["cpu", "cuda"]),
        ("tinyllava eval model --scorer exact", ["exact"]),
        ("tinyllava eval model --scorer ", ["exact", "loose"]),
        ("tinyllava eval model ", ["task", "a.png", "model/", "rows.json"]),
        ("tinyllava train ", ["file"]),
        ("tinyllava help ex", ["export"]),
        ("tinyllava ask nowhere/at/all --item smell=gone/", []),
    ],
)
def test_a_word_is_completed(line: str, wanted: list[str], shell: str, monkeypatch, capsys) -> None:
    assert completed(line, monkeypatch, capsys, shell) == wanted


def test_a_command_that_is_none_or_is_broken_gives_nothing_and_no_error(monkeypatch, capsys) -> None:
    for line in ("tinyllava nonsense --x", "tinyllava dance --x"):
        assert completed(line, monkeypatch, capsys) == []
        assert capsys.readouterr().err == ""


# help
