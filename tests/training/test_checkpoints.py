"""A checkpoint that is not what was written, and data that are not what it learned from, are refused."""

from __future__ import annotations

import json
import shutil
import tarfile
from types import SimpleNamespace

import pytest

from tests import toys
from tests.training.runs import write_recipe
from tinyllava_kit import KitError, TinyLlavaProcessor
from tinyllava_kit.data.dataset import ConversationDataset
from tinyllava_kit.data.sources import Source
from tinyllava_kit.data.stream import RowStream
from tinyllava_kit.training.loop import trainer
from tinyllava_kit.training.output import provenance
from tinyllava_kit.training.output.checkpoints import DIGESTS_FILE, check_whole, last_checkpoint, seal
from tinyllava_kit.training.output.provenance import check_provenance, provenance_of
from tinyllava_kit.training.recipe import Recipe
from tinyllava_kit.training.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    toys.save_picture_model(folder)
    toys.picture_rows(folder, 5)
    return folder


@pytest.fixture(scope="module")
def processor(place):
    return TinyLlavaProcessor.from_pretrained(place / "model")


@pytest.fixture
def two(tmp_path):
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "shards").mkdir(parents=True)
        for name in ("trained.safetensors", "optimizer.pt", "shards/rank_0", "empty"):
            (folder / name).write_bytes(b"" if name == "empty" else name.encode() * step)
        seal(folder, {"model": "m"})
    return tmp_path


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": lambda path: path.unlink(),
}


def test_a_whole_checkpoint_says_what_it_learned_from(two):
    assert last_checkpoint(two).name == "checkpoint-10"
    assert check_whole(two / "checkpoint-10") == {"model": "m"}
    assert last_checkpoint(two / "none") is None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.pt", "shards/rank_0"])
def test_every_damage_of_every_file_is_refused_and_the_one_before_is_offered(two, name, damage):
    last = last_checkpoint(two)
    DAMAGES[damage](last / name)
    why = "is gone" if damage == "gone" else "has changed since it was written"
    offer = rf"checkpoint-10 is damaged: {name} {why}; remove '{last}' to resume from checkpoint-2$"
    with pytest.raises(KitError, match=offer):
        check_whole(last)
    shutil.rmtree(last)
    last = last_checkpoint(two)
    check_whole(last)
    DAMAGES[damage](last / name)
    with pytest.raises(KitError, match=rf"remove '{last}' to start the stage again$"):
        check_whole(last)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"files": 3, "provenance": {}}', b"\xff"])
def test_digests_that_are_lost_are_a_damage(two, content):
    file = two / "checkpoint-10" / DIGESTS_FILE
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(KitError, match=rf"checkpoint-10 is damaged: {DIGESTS_FILE} is gone or damaged; remove"):
        check_whole(two / "checkpoint-10")


def test_the_run_is_refused_before_a_model_is_loaded_and_goes_on_from_the_one_before(place, monkeypatch):
    stage = {"data": str(place / "rows.json"), "train": {"connector.image": "full"}, "batch_size": 2}
    stage |= {"max_steps": 6, "save_steps": 2}
    whole = run_recipe(Recipe.from_yaml(write_recipe(place, "whole", stage)))
    path = write_recipe(place, "damaged", stage)

    def clip(self, model):
        if self.state.global_step == 5:
            raise InterruptedError
        return keep(self, model)

    keep = trainer.KitTrainer._clip_grad_norm
    with monkeypatch.context() as patch:
        patch.setattr(trainer.KitTrainer, "_clip_grad_norm", clip)
        with pytest.raises(InterruptedError):
            run_recipe(Recipe.from_yaml(path))
    folder = place / "damaged" / "s" / "checkpoints"
    assert sorted(each.name for each in folder.iterdir()) == ["checkpoint-2", "checkpoint-4", "stage.json"]
    flip(folder / "checkpoint-4" / "optimizer.pt", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(
            "tinyllava_kit.training.preparation.load_pretrained", lambda *_, **__: pytest.fail("it was loaded")
        )
        with pytest.raises(KitError, match=r"stage 's': checkpoint-4 is damaged: optimizer\.pt has changed"):
            run_recipe(Recipe.from_yaml(path))
    shutil.rmtree(folder / "checkpoint-4")
    rows = json.loads((place / "rows.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr("tinyllava_kit.data.sources.iterate_rows", lambda *_: iter(rows[:-1]))
        with pytest.raises(KitError, match=r"number of its samples has changed since checkpoint-2 .* from 5 to 4"):
            run_recipe(Recipe.from_yaml(path))
    resumed = run_recipe(Recipe.from_yaml(path))
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [each.name for each in sorted(folder.iterdir())] == ["checkpoint-6", "stage.json"]


def write_rows(rows, folder, kind):
    """Rows with pictures of a folder, beside them or in them, as a file in it."""
    file, held = folder / f"rows.{kind}", [row for row in rows if isinstance(row.get("image"), str)]
    if kind == "json":
        file.write_text(json.dumps(rows))
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        import pyarrow.parquet

        held = [{**row, "image": {"bytes": (folder / row["image"]).read_bytes(), "path": "a"}} for row in held]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(held), file, compression="NONE")
    else:
        with tarfile.open(file, "w") as tar:
            for number, row in enumerate(held):
                (folder / "row").write_text(json.dumps({**row, "image": f"{number}.png"}))
                tar.add(folder / row["image"], f"{number}.png")
                tar.add(folder / "row", f"{number}.json")
        (folder / "row").unlink()
    return file


@pytest.fixture
def rows(place, tmp_path):
    shutil.copytree(place / "images", tmp_path / "images")
    return json.loads((place / "rows.json").read_text())


def of(file, processor, place, *, stream=False, **how):
    source = Source(path=str(file), stream=stream, **how)
    if stream:
        return provenance_of(place / "model", RowStream([source], processor, batch_size=1))
    return provenance_of(place / "model", ConversationDataset.from_sources([source], processor))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "tar"])
def test_a_text_that_has_changed_is_noticed_in_every_kind_of_file(place, processor, rows, tmp_path, kind, stream):
    file = write_rows(rows, tmp_path, kind)
    was = of(file, processor, place, stream=stream)
    assert of(file, processor, place, stream=stream) == json.loads(json.dumps(was)) == was
    content = file.read_bytes()
    assert b"answer 0" in content
    file.write_bytes(content.replace(b"answer 0", b"answer 9"))
    said = rf"a {'file' if stream else 'text'} of its data has changed since checkpoint-2 was written"
    with pytest.raises(KitError, match=said):
        check_provenance(was, of(file, processor, place, stream=stream), tmp_path / "checkpoint-2")


@pytest.mark.parametrize("kind", ["json", "parquet", "tar"])
def test_a_picture_that_has_changed_is_noticed_though_its_size_is_the_same(place, processor, rows, tmp_path, kind):
    was = of(write_rows(rows, tmp_path, kind), processor, place)
    flip(tmp_path / rows[0]["image"], -20)
    now = of(write_rows(rows, tmp_path, kind), processor, place)
    with pytest.raises(KitError, match=r"an item of its data has changed since checkpoint-2 was written; restore it"):
        check_provenance(was, now, tmp_path / "checkpoint-2")


def test_the_same_rows_in_another_form_are_the_same_data(place, processor, rows, tmp_path):
    assert of(write_rows(rows, tmp_path, "json"), processor, place) == of(
        write_rows(rows, tmp_path, "jsonl"), processor, place
    )


def test_of_many_files_all_sizes_and_some_contents_are_looked_at(place, processor, rows, tmp_path, monkeypatch):
    file, read = write_rows(rows, tmp_path, "json"), []
    keep = provenance.file_digest
    monkeypatch.setattr(provenance, "CONTENTS", 2)
    monkeypatch.setattr(provenance, "file_digest", lambda path, **how: read.append(path) or keep(path, **how))
    now = of(file, processor, place)
    assert 1 <= len(read) <= 2 < len(list((tmp_path / "images").iterdir()))
    other = next(path for path in sorted((tmp_path / "images").iterdir()) if path not in read)
    other.write_bytes(other.read_bytes() + b"\0")
    assert of(file, processor, place) != now


def test_another_model_to_begin_with_is_noticed(place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "model")
    dataset = SimpleNamespace(conversations=[])
    was = provenance_of(tmp_path / "model", dataset)
    (tmp_path / "model" / "README.md").write_text("a card is no part of it")
    check_provenance(was, provenance_of(tmp_path / "model", dataset), tmp_path / "checkpoint-2")
    flip(tmp_path / "model" / "model.safetensors")
    with pytest.raises(KitError, match=r"the model that the stage begins with has changed since checkpoint-2"):
        check_provenance(was, provenance_of(tmp_path / "model", dataset), tmp_path / "checkpoint-2")


def test_a_stream_names_the_file_that_has_changed(place, processor, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        shutil.copy(place / "rows.json", tmp_path / "data" / f"{name}.json")
    path = tmp_path / "data" / "*.json"
    was = of(path, processor, place, stream=True)
    flip(tmp_path / "data" / "b.json")
    with pytest.raises(KitError, match=r"a file of its data has changed since checkpoint-2 was written: .*b\.json;"):
        check_provenance(was, of(path, processor, place, stream=True), tmp_path / "checkpoint-2")


@pytest.mark.parametrize("how", ["change", "remove"])
@pytest.mark.parametrize("kind", ["json", "jsonl", "mappings", "pairs"])
def test_a_picture_that_a_row_of_a_stream_names_is_looked_at(place, processor, rows, tmp_path, kind, how):
    rows = [row for row in rows if isinstance(row.get("image"), str)]
    picture = tmp_path / rows[-1]["image"]
    if kind == "mappings":
        rows = [{**row, "image": {"path": row["image"], "bytes": None}} for row in rows]
    if kind == "pairs":
        rows = [{"image": row["image"], "text": "a text"} for row in rows]
    file = write_rows(rows, tmp_path, "jsonl" if kind == "jsonl" else "json")
    pairs = {"pairs": {"modality": "image", "prompts": ["What?"], "turns": 2}} if kind == "pairs" else {}
    was = of(file, processor, place, stream=True, **pairs)
    assert was["rows_looked_at"] == 1024
    picture.unlink() if how == "remove" else flip(picture, -20)
    with pytest.raises(KitError, match=rf"a file of its data has changed since checkpoint-2 .*{picture.name};"):
        check_provenance(was, of(file, processor, place, stream=True, **pairs), tmp_path / "checkpoint-2")


def test_of_a_stream_the_first_rows_of_each_file_are_looked_at(place, processor, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "CONTENTS", 2)
    first, second = [row for row in rows if isinstance(row.get("image"), str)][:2]
    unusable = {**second, "conversations": "a text"}
    for name, held in (("a", [first, second]), ("b", [unusable, second])):
        (tmp_path / f"{name}.json").write_text(json.dumps(held))
    looked = of(tmp_path / "*.json", processor, place, stream=True)["files"]
    assert set(looked) == {str(tmp_path / name) for name in ("a.json", "b.json", first["image"])}
