"""How a new plugin may be called."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fakes import FakeSite, offering
from tinyllava_kit_cli.commands.new_plugin import command


def test_a_tower_is_of_the_modality_that_its_items_are_cut_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = FakeSite(tmp_path / "site", monkeypatch)
    token = "TokenType(placeholder='<film>')"
    site.plugin(
        "film",
        offering("tinyllava_modalities", f"ModalitySpec(name='film', target='a.b:C', token={token}, parts_of='image')"),
    )
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--modality", "film", "--out", str(tmp_path / "a")])
    assert "the parts of a film are of 'image', and its towers read them; take --modality image" in str(
        result.exception
    )


def test_a_modality_that_nobody_offers_is_noted(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["a", "--kind", "tower", "--modality", "imgae", "--out", str(tmp_path / "a")])
    assert (
        "no installed plugin offers the modality 'imgae', which the checks need; did you mean 'image'?" in result.stderr
    )
    assert result.exit_code == 0
