import multiprocessing
import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.disks import small_disk
from trainers.data.decoded import DecodedStore, close_stores, store_of
from trainers.data.layout import Decoding, Item
from trainers.data.presence import classes_present
from trainers.data.read import Reader, read_image, read_mask

SIZE = (200, 160)


@pytest.fixture
def item(tmp_path, write_image):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "a.png", rng.integers(0, 256, (*SIZE, 3)))
    write_image(tmp_path / "a_mask.png", rng.integers(0, 3, SIZE))
    return Item(image=tmp_path / "a.png", mask=tmp_path / "a_mask.png", root=tmp_path)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    close_stores()
    yield
    close_stores()


def reader():
    """Of a process that has nothing in its own memory."""
    return Reader(3, cache_bytes=0, store_bytes=2**24)


def no_more_decoding(monkeypatch):
    def refuse(*_args, **_kinds):
        raise AssertionError("decoded again")

    for decoder in ("image_array", "index_array"):
        monkeypatch.setattr(f"trainers.data.read.{decoder}", refuse)


@pytest.fixture
def all_sizes(monkeypatch):
    monkeypatch.setattr("trainers.data.read.WORTH_BYTES", 0)


def test_a_second_reader_gets_the_same_image_and_mask_without_decoding(item, all_sizes, monkeypatch):
    image, mask = reader()(item, with_mask=True)
    no_more_decoding(monkeypatch)
    again, mask_again = reader()(item, with_mask=True)
    assert torch.equal(again, image)
    assert torch.equal(mask_again, mask)


def test_a_changed_file_is_decoded_anew(item, write_image, all_sizes):
    reader()(item, with_mask=True)
    before = item.image.stat()
    write_image(item.image, np.zeros((*SIZE, 3)))
    os.utime(item.image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert reader()(item, with_mask=True)[0].sum() == 0


def test_masks_of_another_class_count_are_checked_again(item, all_sizes):
    reader()(item, with_mask=True)
    with pytest.raises(Exception, match=r"class index 2, allowed are 0 \.\. 1"):
        Reader(2, cache_bytes=0, store_bytes=2**24)(item, with_mask=True)


def test_a_full_store_takes_no_more_and_every_image_is_still_right(item, tmp_path, write_image, all_sizes):
    small = Reader(3, cache_bytes=0, store_bytes=2**18)
    items = [item]
    for number in range(6):
        write_image(tmp_path / f"{number}.png", np.full((*SIZE, 3), number))
        items.append(Item(image=tmp_path / f"{number}.png", root=tmp_path))
    for one in [*items, *items]:
        assert torch.equal(small(one, with_mask=False)[0], read_image(one))
    assert sum(file.stat().st_size for file in tmp_path.glob("cache/ipix-tune/decoded/*/data.mdb")) <= 2**18


def test_without_room_for_it_on_the_machine_nothing_is_kept(item):
    assert torch.equal(Reader(3, cache_bytes=0)(item, with_mask=False)[0], read_image(item))
    assert not (item.root / "cache").exists()


def test_small_images_are_not_worth_it(tmp_path, write_image, monkeypatch):
    write_image(tmp_path / "small.png", np.zeros((8, 8, 3)))
    small = Item(image=tmp_path / "small.png", root=tmp_path)
    reader()(small, with_mask=False)
    no_more_decoding(monkeypatch)
    with pytest.raises(AssertionError):
        reader()(small, with_mask=False)


def test_a_full_disk_costs_nothing_but_the_store(item, tmp_path, all_sizes):
    (tmp_path / "cache").mkdir()
    with small_disk(tmp_path / "cache", "64k"):
        for _ in range(2):
            assert torch.equal(reader()(item, with_mask=True)[1], read_mask(item, num_classes=3))
        close_stores()


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_store(item, tmp_path, all_sizes, caplog):
    (tmp_path / "cache").write_text("in the way")
    assert torch.equal(reader()(item, with_mask=False)[0], read_image(item))
    assert "decoded images cannot be kept there" in caplog.text


def fill(folder, sources):
    store = DecodedStore(folder, limit=2**24)
    for source in sources:
        kept = store.get(source, kind="rgb")
        if kept is None:
            store.put(source, np.full((3, 50, 40), int(source.stem), np.uint8), kind="rgb")


def test_processes_that_fill_it_at_once_leave_every_image_whole(tmp_path):
    sources = [tmp_path / f"{number}.jpg" for number in range(40)]
    for source in sources:
        source.write_text("x")
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=fill, args=(tmp_path / "store", sources[shift:] + sources)) for shift in (0, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    store = DecodedStore(tmp_path / "store", limit=2**24)
    for number, source in enumerate(sources):
        kept = store.get(source, kind="rgb")
        assert kept.shape == (3, 50, 40)
        assert (kept == number).all()


def test_a_process_with_a_lower_limit_reads_what_one_with_a_higher_limit_has_kept(tmp_path):
    sources = [tmp_path / f"{number}.jpg" for number in range(60)]
    for source in sources:
        source.write_text("x")
    small = DecodedStore(tmp_path / "store", limit=2**16)
    small.put(sources[0], np.zeros((3, 50, 40), np.uint8), kind="rgb")
    other = multiprocessing.get_context("spawn").Process(target=fill, args=(tmp_path / "store", sources))
    other.start()
    other.join()
    assert other.exitcode == 0
    assert (small.get(sources[-1], kind="rgb") == 59).all()


def test_a_data_folder_has_one_store_in_a_process_whatever_limits_are_asked_for(item, all_sizes, caplog):
    first = store_of(item.root, limit=2**24)
    assert store_of(item.root, limit=2**25) is first
    Reader(3, cache_bytes=0, store_bytes=2**25)(item, with_mask=False)
    assert first.get(item.image, kind="rgb, apply, None") is not None
    assert caplog.text == ""


def replaced(path, write_image, pixels):
    """Another content under the same name, size and time of change, as `rsync -t` or an unpacked archive leaves it."""
    before = path.stat()
    write_image(path, pixels)
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * (before.st_size - len(data)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_file_replaced_by_one_of_equal_size_and_time_is_decoded_anew(item, write_image, all_sizes):
    reader()(item, with_mask=True)
    replaced(item.image, write_image, np.zeros((*SIZE, 3)))
    replaced(item.mask, write_image, np.ones(SIZE))
    image, mask = reader()(item, with_mask=True)
    assert image.sum() == 0
    assert mask.unique().tolist() == [1]


def test_the_classes_of_a_mask_replaced_by_one_of_equal_size_and_time_are_read_anew(item, write_image):
    assert classes_present([item]) == [{0, 1, 2}]
    replaced(item.mask, write_image, np.ones(SIZE))
    assert classes_present([item]) == [{1}]


@pytest.mark.parametrize("shape", [(1, 70_000), (70_000, 1)])
def test_images_with_sides_above_65535_are_kept_too(tmp_path, write_image, shape, monkeypatch):
    values = np.arange(70_000).reshape(shape) % 251
    write_image(tmp_path / "long.png", values)
    long = Item(image=tmp_path / "long.png", root=tmp_path)
    first, _ = reader()(long, with_mask=False)
    no_more_decoding(monkeypatch)
    again, _ = reader()(long, with_mask=False)
    assert np.array_equal(again[0], values)
    assert torch.equal(first, again)


def test_ways_of_reading_an_image_are_kept_apart(tmp_path, all_sizes):
    exif = Image.Exif()
    exif[0x112] = 3
    values = np.arange(200, dtype=np.float32).reshape(10, 20) / 200
    Image.fromarray(values).save(tmp_path / "f.tif")
    Image.fromarray((values * 255).astype(np.uint8)).save(tmp_path / "turned.png", exif=exif)

    def read(name, **decoding):
        return reader()(Item(image=tmp_path / name, root=tmp_path, decoding=Decoding(**decoding)), with_mask=False)[0]

    for _ in range(2):
        assert torch.equal(read("turned.png").flip(1, 2), read("turned.png", exif="ignore"))
        assert read("f.tif").max() == 254
        assert read("f.tif", value_range=(0, 0.5)).max() == 255
