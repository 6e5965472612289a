"""The feature cache: the tower's own numbers, found again by what they depend on, in a folder that many may use."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import toys
from tests.processes import Started, start
from tinyllava_kit import KitError, TinyLlavaForConditionalGeneration, TinyLlavaProcessor, assemble
from tinyllava_kit.core.conversation import Item
from tinyllava_kit.features import cache as module
from tinyllava_kit.features.cache import FeatureCache

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that reads pictures, and four of them."""
    folder = tmp_path_factory.mktemp("features")
    toys.save_picture_model(folder)
    toys.save_pictures(folder / "images")
    return folder


def load(place: Path):
    kinds = TinyLlavaForConditionalGeneration, TinyLlavaProcessor
    return tuple(kind.from_pretrained(place / "model") for kind in kinds)


def pictures(place: Path) -> list[Item]:
    return [Item("image", str(path)) for path in sorted((place / "images").glob("*.png"))]


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))


def by_the_tower(place: Path, items: list[Item]) -> list[torch.Tensor]:
    """What the tower makes of a batch of items, straight from the processor's own batch."""
    model, processor = load(place)
    batch = processor([[{"role": "user", "content": [{"type": "image", "image": item.source}]}] for item in items])
    with torch.no_grad():
        return list(model.encode_features("image", batch["items"]["image"]).features)


def test_features_are_the_towers_own_to_the_bit_at_once_and_in_a_new_process(place, tmp_path):
    items = pictures(place)
    for encoded in (4, 0):
        cache = FeatureCache(*load(place), tmp_path)
        assert cache.fill(items) == encoded
        for item, own in zip(items, by_the_tower(place, items), strict=True):
            (part,) = cache(item)
            assert torch.equal(part.features, own)
            assert (part.modality, part.num_features) == ("image", [4])
    assert len(shards(tmp_path)) == 1


def test_text_between_the_parts_of_an_item_is_kept(tmp_path):
    llm = toys.save_llama(tmp_path / "llm")
    model, processor = assemble(toys.picture_assembly(llm, **{"modality.image.aspect": "tiles"}))
    item = Item("image", str(tmp_path / toys.save_pictures(tmp_path)[0]))
    expand = processor.modalities["image"].expand

    def with_borders(picture, preprocessor):
        whole, *tiles = expand(picture, preprocessor)
        return [whole, "tiles: ", *tiles]

    processor.modalities["image"].expand = with_borders
    FeatureCache(model, processor, tmp_path / "kept").fill([item])
    cache = FeatureCache(model, processor, tmp_path / "kept")
    assert cache.fill([item]) == 0
    kept, fresh = cache(item), processor.read_item(item)
    assert len(kept) == len(fresh) > 3
    assert kept[1] == "tiles: "
    assert all(isinstance(a, str) or a.num_features == b.num_features for a, b in zip(kept, fresh, strict=True))


def test_equal_content_is_one_item_whatever_it_is_called_or_held_in(place, tmp_path):
    path = pictures(place)[0].source
    shutil.copy(path, tmp_path / "other name.png")
    content, pixels = Path(path).read_bytes(), np.asarray(Image.open(path))
    cache = FeatureCache(*load(place), tmp_path / "kept")
    named = [path, Path(path), str(tmp_path / "other name.png"), content]
    assert cache.fill([Item("image", source) for source in named]) == 1
    assert cache.fill([Item("image", pixels), Item("image", pixels.copy())]) == 1
    assert cache.fill([Item("image", {"bytes": content, "path": None})]) == 1
    assert cache.fill([Item("image", Image.open(path)), Item("image", Image.open(path))]) == 1  # by its pixels
    found = [cache(Item("image", source))[0].features for source in [*named, pixels]]
    assert all(torch.equal(each, found[0]) for each in found)


def test_another_file_of_the_same_name_is_another_item(place, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 7), "red").save(path)
    assert FeatureCache(*load(place), tmp_path / "kept").fill([Item("image", str(path))]) == 1
    Image.new("RGB", (9, 7), "blue").save(path)
    assert FeatureCache(*load(place), tmp_path / "kept").fill([Item("image", str(path))]) == 1


def another_weight(model, processor):
    with torch.no_grad():
        next(p for p in reversed(list(model.towers.parameters()))).flatten()[0] += 1e-3


def another_dtype(model, processor):
    model.to(torch.bfloat16)


def another_buffer(model, processor):
    model.towers["image"].register_buffer("scale", torch.ones(1), persistent=False)


def another_preprocessing(model, processor):
    settings = processor.preprocessors["image"].settings
    processor.preprocessors["image"].settings = lambda: {**settings(), "resample": 0}


def another_way_to_read(model, processor):
    model.config.modalities["image"] = {**model.config.modalities["image"], "options": {"aspect": "pad"}}


def another_option_of_the_tower(model, processor):
    model.config.towers["image"] = {**model.config.towers["image"], "options": {"layer": -1}}


def another_plugin(model, processor):
    model.config.towers["image"] = {**model.config.towers["image"], "version": "9"}


@pytest.mark.parametrize(
    "change",
    [
        another_weight,
        another_dtype,
        another_buffer,
        another_preprocessing,
        another_way_to_read,
        another_option_of_the_tower,
        another_plugin,
    ],
)
def test_what_the_features_depend_on_makes_new_ones(place, tmp_path, change):
    FeatureCache(*load(place), tmp_path).fill(pictures(place))
    model, processor = load(place)
    change(model, processor)
    cache = FeatureCache(model, processor, tmp_path)
    assert cache.fill(pictures(place)) == 4
    assert cache(pictures(place)[0])[0].features.dtype == model.dtype
    assert FeatureCache(*load(place), tmp_path).fill(pictures(place)) == 0  # the old ones are still there


def test_what_they_do_not_depend_on_does_not(place, tmp_path):
    FeatureCache(*load(place), tmp_path).fill(pictures(place))
    model, processor = load(place)
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    torch.nn.init.normal_(next(model.connectors.parameters()))
    assert FeatureCache(model, processor, tmp_path).fill(pictures(place)) == 0


@pytest.mark.parametrize("damage", ["cut", "header", "one bit", "empty"])
def test_a_damaged_shard_is_made_again_with_one_line(place, tmp_path, capsys, damage):
    FeatureCache(*load(place), tmp_path).fill(pictures(place))
    (path,) = shards(tmp_path)
    content = bytearray(path.read_bytes())
    content[{"header": 3}.get(damage, -5)] ^= 1
    path.write_bytes({"cut": content[:-40], "empty": b""}.get(damage, content))
    cache = FeatureCache(*load(place), tmp_path)
    assert cache.fill(pictures(place)) == 4
    assert capsys.readouterr().out == f"{path}: damaged features, which are removed and made again\n"
    own = by_the_tower(place, pictures(place))
    assert all(torch.equal(cache(i)[0].features, f) for i, f in zip(pictures(place), own, strict=True))
    assert FeatureCache(*load(place), tmp_path).fill(pictures(place)) == 0


FILLING = """
import sys, time
from tests.features.test_cache import load, pictures
from pathlib import Path
from tinyllava_kit.features import cache as features, store as feature_store
from tinyllava_kit.features.cache import FeatureCache
from tinyllava_kit.core.conversation import Item

place, folder, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
features.BATCH = features.CACHE_BYTES = 1  # a shard an item
if how == "stop while writing the third":
    save, written = feature_store.save_file, []

    def slowly(tensors, path, metadata):
        save(tensors, path, metadata=metadata)
        written.append(path)
        if len(written) == 3:
            Path(path).write_bytes(Path(path).read_bytes()[:100])
            print("writing", flush=True)
            time.sleep(600)

    feature_store.save_file = slowly
cache = FeatureCache(*load(place), folder)
print("ready", flush=True)
while not Path(folder, "go").exists():
    time.sleep(0.001)
print(cache.fill(pictures(place)), flush=True)
"""


def filling(place: Path, folder: Path, how: str = "") -> Started:
    """A process that fills a cache when there is a file `go`."""
    process = start(["-c", FILLING, str(place), str(folder), how])
    process.until(lambda: process.said == "ready\n")
    return process


def test_a_process_killed_while_it_writes_leaves_what_it_had_written(place, tmp_path):
    process = filling(place, tmp_path, "stop while writing the third")
    (tmp_path / "go").touch()
    process.until(lambda: process.said == "ready\nwriting\n")
    process.send(signal.SIGKILL)
    process.end()
    assert len(shards(tmp_path)) == 2
    assert len(list(tmp_path.glob(".unfinished-*"))) == 1
    cache = FeatureCache(*load(place), tmp_path)
    assert cache.fill(pictures(place)) == 2
    assert not list(tmp_path.glob(".unfinished-*"))
    own = by_the_tower(place, pictures(place))
    assert all(torch.allclose(cache(i)[0].features, f, atol=1e-5) for i, f in zip(pictures(place), own, strict=True))


def test_two_processes_fill_one_folder_at_once(place, tmp_path):
    both = [filling(place, tmp_path) for _ in range(2)]
    (tmp_path / "go").touch()
    assert [process.end()[:2] for process in both] == [(0, "ready\n4\n")] * 2
    cache = FeatureCache(*load(place), tmp_path)
    assert cache.fill(pictures(place)) == 0
    own = by_the_tower(place, pictures(place))
    assert all(torch.allclose(cache(i)[0].features, f, atol=1e-5) for i, f in zip(pictures(place), own, strict=True))


def test_what_another_process_has_encoded_in_the_meantime_is_taken(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    monkeypatch.setattr(module, "CACHE_BYTES", 1)
    late, early = FeatureCache(*load(place), tmp_path), FeatureCache(*load(place), tmp_path)
    write = late.store.write

    def write_late(space, shard):
        write(space, shard)
        early.fill(pictures(place))

    late.store.write = write_late
    late.fill(pictures(place))
    assert len(shards(tmp_path)) == 4  # one of ours and three of the other's


def test_of_several_ranks_each_encodes_its_part_and_none_the_others(place, tmp_path, monkeypatch):
    items = [Item("image", str(tmp_path / name)) for name in toys.save_pictures(tmp_path, 16)]
    model, processor = load(place)
    caches = [FeatureCache(model, processor, tmp_path / "kept") for _ in range(2)]
    encoded: list[list[str]] = [[], []]
    here = 0

    def encode(batch):
        encoded[here] += [item.source for item in batch]
        return FeatureCache.encode(caches[here], batch)

    def let_the_other_come():
        nonlocal here
        if here == 0:
            here = 1
            caches[1].fill(items)
            here = 0

    for cache in caches:
        cache.encode = encode
    monkeypatch.setattr(module, "world_size", lambda: 2)
    monkeypatch.setattr(module, "rank", lambda: here)
    monkeypatch.setattr(module, "wait_for_all", let_the_other_come)
    caches[0].fill(items)
    assert all(encoded)
    assert sorted(encoded[0] + encoded[1]) == sorted(item.source for item in items)
    assert all(cache.has(item) for cache in caches for item in items)


def sized(folder: Path) -> int:
    return sum(path.stat().st_size for path in shards(folder))


def test_the_bound_holds_and_what_was_used_last_stays(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    monkeypatch.setattr(module, "CACHE_BYTES", 1)
    items = pictures(place)
    FeatureCache(*load(place), tmp_path).fill(items[:1])
    one = sized(tmp_path)
    bound = 3.5 * one / 1e9
    for number, path in enumerate(shards(tmp_path)):
        os.utime(path, (number, number))
    FeatureCache(*load(place), tmp_path, bound).fill(items[1:3])
    for path in shards(tmp_path):
        os.utime(path, (5, 5))
    FeatureCache(*load(place), tmp_path, bound).fill(items[:1])  # used again
    last = FeatureCache(*load(place), tmp_path, bound)
    assert last.fill(items[3:]) == 1
    assert sized(tmp_path) <= bound * 1e9
    assert FeatureCache(*load(place), tmp_path).fill([items[0], items[3]]) == 0
    assert FeatureCache(*load(place), tmp_path).fill(items[1:3]) == 1


def test_a_cache_reads_what_it_uses_though_another_process_has_removed_it(place, tmp_path):
    cache = FeatureCache(*load(place), tmp_path)
    cache.fill(pictures(place))
    for path in shards(tmp_path):
        path.unlink()
    own = by_the_tower(place, pictures(place))
    assert all(torch.equal(cache(i)[0].features, f) for i, f in zip(pictures(place), own, strict=True))


def test_features_that_one_run_needs_and_that_have_no_room_are_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    monkeypatch.setattr(module, "CACHE_BYTES", 1)
    FeatureCache(*load(place), tmp_path / "one").fill(pictures(place)[:1])
    bound = 2.5 * sized(tmp_path / "one") / 1e9
    with pytest.raises(KitError, match=r"cache_features: the features take more than max_gb .* in '.*'; raise it, or"):
        FeatureCache(*load(place), tmp_path / "all", bound).fill(pictures(place))
    assert sized(tmp_path / "all") <= bound * 1e9


def test_a_folder_that_cannot_be_written_is_one_line(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match=r"cannot write features to '.*/file': "):
        FeatureCache(*load(place), tmp_path / "file").fill(pictures(place))


def test_a_reader_in_another_process_needs_no_model(place, tmp_path):
    cache = FeatureCache(*load(place), tmp_path)
    items = pictures(place)
    items.append(Item("image", Path(items[0].source).read_bytes()))
    cache.fill(items)
    reader, sent = pickle.loads(pickle.dumps((cache, items)))
    assert reader.model is None
    for item, twin in zip(items, sent, strict=True):
        assert torch.equal(reader(twin)[0].features, cache(item)[0].features)


def test_without_a_folder_the_features_go_with_the_cache(place):
    cache = FeatureCache(*load(place))
    cache.fill(pictures(place))
    folder = cache.store.folder
    assert len(shards(folder)) == 1
    del cache
    assert not folder.exists()


def test_an_item_that_is_gone_is_not_taken_for_a_new_one_in_its_place(place):
    features = FeatureCache(*load(place))
    counts = [features.fill([Item("image", Image.new("RGB", (9, 7), (n, 0, 0)))]) for n in range(7)]
    assert counts == [1] * 7
