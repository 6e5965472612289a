"""Sharing on a hub: what is sent is what is saved, under the name that was asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers.utils.hub as hub
from huggingface_hub import ModelCard

from tests import toys
from tinyllava_kit import TinyLlavaForConditionalGeneration, TinyLlavaProcessor


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A hub on this machine: a folder for each repository."""

    class Api:
        def create_repo(self, repo_id, **kwargs):
            return SimpleNamespace(repo_id=repo_id)

    def upload(self, folder, repo_id, *args, **kwargs):
        target = tmp_path / "hub" / repo_id
        target.mkdir(parents=True, exist_ok=True)
        for file in Path(folder).iterdir():
            (target / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(hub, "hf_api", Api)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *args, **kwargs: ModelCard("---\n---\n"))
    for kind in (TinyLlavaForConditionalGeneration, TinyLlavaProcessor):
        monkeypatch.setattr(kind, "_upload_modified_files", upload)
    return tmp_path / "hub"


@pytest.mark.parametrize("way", ["push", "save", "save as"])
def test_a_model_on_a_hub_is_the_model(sent, tmp_path, way):
    model, processor = toys.picture_model(tmp_path / "llm")
    for part in (model, processor):
        if way == "push":
            part.push_to_hub("org/name")
        elif way == "save":
            part.save_pretrained(tmp_path / "org" / "name", push_to_hub=True)
        else:
            part.save_pretrained(tmp_path / "elsewhere", push_to_hub=True, repo_id="org/name", private=True)
    folder = sent / ("name" if way == "save" else "org/name")
    loaded = TinyLlavaForConditionalGeneration.from_pretrained(folder)
    TinyLlavaProcessor.from_pretrained(folder)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    assert [f.name for f in sent.iterdir()] == [folder.relative_to(sent).parts[0]]
