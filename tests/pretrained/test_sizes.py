"""What a configuration builds has a bound, while it is built."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn

from tests import toys
from tinyllava_kit import KitError, load_pretrained
from tinyllava_kit.pretrained import sizes


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return toys.save_picture_model(tmp_path_factory.mktemp("saved"))


@pytest.mark.parametrize(
    ("place", "key"),
    [(("connectors", "image", "options"), "depth"), (("text_config",), "num_hidden_layers")],
)
def test_a_number_of_layers_from_a_file_is_bounded_while_they_are_built(tmp_path, saved, monkeypatch, place, key):
    monkeypatch.setattr(sizes, "MAX_MODULES_AND_PARAMETERS", 2000)
    folder = shutil.copytree(saved, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    found = config
    for step in place:
        found = found[step]
    found[key] = 100_000_000
    if key == "num_hidden_layers":
        found.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        KitError, match=r"makes more than 2000 modules and weights; check|expected (at most|less than or equal)"
    ):
        load_pretrained(folder)


def test_what_is_built_later_is_not_counted(monkeypatch):
    monkeypatch.setattr(sizes, "MAX_MODULES_AND_PARAMETERS", 10)
    with sizes.bounded("here"):
        nn.Linear(2, 3)
    nn.Sequential(*[nn.Linear(2, 3) for _ in range(20)])
    with pytest.raises(KitError, match="here: makes more than 10"), torch.device("meta"), sizes.bounded("here"):
        nn.Sequential(*[nn.Identity() for _ in range(11)])


def test_modules_and_weights_are_counted_and_a_failure_ends_the_counting(monkeypatch):
    monkeypatch.setattr(sizes, "MAX_MODULES_AND_PARAMETERS", 5)
    with sizes.bounded("here"):
        nn.Sequential(nn.Linear(2, 3), nn.Identity())  # two weights, two modules
    line = r"^here: makes more than 5 modules and weights; check its numbers of layers$"
    with pytest.raises(KitError, match=line), sizes.bounded("here"):
        nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3))
    with pytest.raises(ZeroDivisionError), sizes.bounded("here"):
        _ = 1 / 0
    nn.Sequential(*[nn.Identity() for _ in range(20)])
