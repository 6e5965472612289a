"""How a new plugin may be called."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fakes import FakeSite, offering
from tinyllava_kit import KitError
from tinyllava_kit_cli.commands.new_plugin import command
from tinyllava_kit_cli.scaffold.naming import names_of


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


@pytest.mark.parametrize(
    ("words", "offers", "modality"),
    [
        (("my-clip", "tower"), [("tower", "my_clip")], "image"),
        (("my-clip", "tower", "my-smell"), [("tower", "my_clip")], "my_smell"),
        (("joint", "connector"), [("connector", "joint")], ""),
        (("depth", "modality"), [("modality", "depth"), ("tower", "depth_patches")], "depth"),
        (("voice", "decoder", "audio"), [("decoder", "voice")], "audio"),
        (("levels", "decoder"), [("modality", "levels"), ("decoder", "levels")], "levels"),
    ],
)
def test_a_plugin_offers_components_of_its_name(words, offers, modality) -> None:
    names = names_of(*words)
    assert ([*names.offers], names.modality) == (offers, modality)


def test_dashes_are_of_distributions_and_underscores_of_modules() -> None:
    for written in ("my-own-eye", "my_own_eye"):
        names = names_of(written, "tower")
        assert (names.distribution, names.package) == ("tinyllava-kit-my-own-eye", "tinyllava_kit_my_own_eye")
        assert (names.snake, names.camel) == ("my_own_eye", "MyOwnEye")


@pytest.mark.parametrize("name", ["", "My", "a b", "1a", "a--b", "-a", "a-", "class", "é", "../a"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(KitError, match=r"new-plugin: a name is lower case with dashes, like 'depth' or 'my-clip', got"):
        names_of(name, "tower")
