"""Datasets: what is uploaded can be trained on, splits stay honest, nothing is sent twice, and nobody sees another's."""
import hashlib
import io
import time

import grpc
import numpy as np
import pytest
from PIL import Image

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import datasets_pb2 as datasets
from conftest import BADFILES, CHUNK, Client, crc32c, refused

C = grpc.StatusCode
TRAIN, VALIDATION, TEST = datasets.SPLIT_TRAIN, datasets.SPLIT_VALIDATION, datasets.SPLIT_TEST


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def tiff(array):
    """One plane or several, as Pillow writes them."""
    out = io.BytesIO()
    pages = [Image.fromarray(p) for p in (array if array.ndim == 3 else array[None])]
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    return out.getvalue()


def squares(height, width, seed=0):
    """An image and its labels: bright squares, numbered."""
    random = np.random.default_rng(seed)
    image = random.normal(20, 3, (height, width)).clip(0, 255)
    labels = np.zeros((height, width), np.uint16)
    for i, y in enumerate(range(4, height - 12, 16)):
        for k, x in enumerate(range(4, width - 12, 16)):
            image[y:y + 8, x:x + 8] = 150
            labels[y:y + 8, x:x + 8] = 1 + seed * 1000 + i * 100 + k
    return image.astype(np.uint8), labels


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def requests(dataset, name, image, labels, split=TRAIN, group="", held=False, **start):
    pair = datasets.Pair(name=name, split=split, group=group, image_sha256=sha256(image), labels_sha256=sha256(labels))
    yield datasets.AddPairRequest(start=datasets.AddPairStart(
        dataset=dataset, pair=pair, image_bytes=0 if held else len(image), labels_bytes=0 if held else len(labels), **start))
    files = () if held else (image, labels)
    for artifact, data in enumerate(files):
        for offset in range(0, len(data), CHUNK):
            piece = data[offset:offset + CHUNK]
            yield datasets.AddPairRequest(chunk=common.Chunk(artifact=artifact, offset=offset, crc32c=crc32c(piece), data=piece))
    yield datasets.AddPairRequest(end=common.ChunkEnd(total_bytes=sum(map(len, files))))


def add(client, *arguments, **options):
    return client.datasets.AddPair(requests(*arguments, **options))


def create(client, name, **fields):
    return client.datasets.Create(datasets.CreateDatasetRequest(dataset=datasets.Dataset(name=name, **fields))).dataset


def get(client, name):
    return client.datasets.Get(datasets.GetDatasetRequest(name=name)).dataset


def pairs(client, name, **filters):
    return list(client.datasets.ListPairs(datasets.ListPairsRequest(dataset=name, **filters)).pairs)


def make(seed, height=48, width=64):
    image, labels = squares(height, width, seed)
    return png(image), tiff(labels)


def test_a_dataset_holds_what_was_added_with_what_the_files_say(client):
    made = create(client, "first", project="pilot", labels={"plate": "seven"}, description="squares\nof one size", licence="CC0-1.0")
    assert made.owner and made.created_ms and made.pair_count == 0
    image, labels = make(1)
    pair = add(client, "first", "one.png", image, labels).pair
    assert [(a.name, a.size) for a in pair.image.axes] == [("y", 48), ("x", 64)]
    assert pair.image.sample_type == common.SAMPLE_TYPE_UINT8 and pair.labels.sample_type == common.SAMPLE_TYPE_UINT16
    assert pair.object_count == len(np.unique(squares(48, 64, 1)[1])) - 1 > 5
    assert pair.image_sha256 == sha256(image) and pair.labels_sha256 == sha256(labels)
    add(client, "first", "two.png", *make(2), split=VALIDATION)
    now = get(client, "first")
    assert (now.pair_count, now.train_count, now.validation_count, now.test_count) == (2, 1, 1, 0)
    assert now.total_bytes >= len(image) + len(labels)
    assert (now.project, dict(now.labels), now.licence) == ("pilot", {"plate": "seven"}, "CC0-1.0")
    assert [p.name for p in pairs(client, "first")] == ["one.png", "two.png"]
    assert [p.name for p in pairs(client, "first", split=VALIDATION)] == ["two.png"]
    listed = client.datasets.List(datasets.ListDatasetsRequest(labels={"plate": "seven"}, project="pilot")).datasets
    assert [d.name for d in listed] == ["first"]
    assert not client.datasets.List(datasets.ListDatasetsRequest(labels={"plate": "eight"})).datasets


def test_lists_are_paged(client):
    for i in range(5):
        create(client, f"paged-{i}", labels={"paged": "yes"})
    names, token = [], ""
    while True:
        page = client.datasets.List(datasets.ListDatasetsRequest(page=common.Page(size=2, token=token), labels={"paged": "yes"}))
        names += [d.name for d in page.datasets]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"paged-{i}" for i in range(5)]
    create(client, "pages")
    for i in range(3):
        add(client, "pages", f"{i}.png", *make(10 + i, 24, 24))
    first = client.datasets.ListPairs(datasets.ListPairsRequest(dataset="pages", page=common.Page(size=2)))
    rest = client.datasets.ListPairs(
        datasets.ListPairsRequest(dataset="pages", page=common.Page(size=2, token=first.next_page_token)))
    assert [p.name for p in [*first.pairs, *rest.pairs]] == ["0.png", "1.png", "2.png"] and not rest.next_page_token


def test_stacks_are_counted_plane_by_plane(client):
    create(client, "stacks")
    image, labels = squares(32, 48, 4)
    stack = np.stack([image, image[::-1], image])
    stacked = np.stack([labels, labels[::-1], np.zeros_like(labels)])
    pair = add(client, "stacks", "stack.tif", tiff(stack), tiff(stacked)).pair
    assert sorted(a.size for a in pair.image.axes) == [3, 32, 48]
    assert pair.object_count == 2 * (len(np.unique(labels)) - 1)
    refused(C.INVALID_ARGUMENT, lambda: add(client, "stacks", "fewer.tif", tiff(stack), tiff(stacked[:2])), "3 planes", "2")


def test_what_cannot_be_trained_on_is_refused_by_name(client):
    create(client, "refused")
    image, labels = squares(48, 64, 5)
    cases = [
        ("smaller.png", png(image), png(labels[:40]), "48", "40"),
        ("broken.png", png(image)[:200], png(labels), "image"),
        ("broken-labels.png", png(image), png(labels)[:100], "labels"),
        ("floats.tif", png(image), tiff(labels + np.float32(0.5)), "0.5", "whole numbers"),
        ("colours.png", png(image), png(np.dstack([image] * 3)), "3 channels"),
        ("negative.tif", png(image), tiff(labels.astype(np.int32) - 1), "-1"),
        ("nan.tif", tiff(np.where(labels > 0, np.nan, 1).astype(np.float32)), png(labels), "not a number"),
        ("text.txt", b"no image at all", png(labels), "image"),
    ]
    for name, first, second, *words in cases:
        refused(C.INVALID_ARGUMENT, lambda: add(client, "refused", name, first, second), name, *words)
    for path in sorted(BADFILES.glob("*.tif"))[:6]:
        refused(C.INVALID_ARGUMENT, lambda: add(client, "refused", path.name, path.read_bytes(), png(labels)), path.name)
    assert not pairs(client, "refused")


def test_the_same_pair_again_is_the_first_one_and_another_of_its_name_is_refused(client):
    create(client, "again")
    image, labels = make(6)
    first = add(client, "again", "a.png", image, labels, group="g")
    again = add(client, "again", "a.png", image, labels, group="g")
    assert not first.existing and again.existing and again.pair.id == first.pair.id
    other = make(7)
    refused(C.ALREADY_EXISTS, lambda: add(client, "again", "a.png", other[0], labels, group="g"), "a.png", "another image")
    refused(C.ALREADY_EXISTS, lambda: add(client, "again", "a.png", image, other[1] + b"\0", group="g"), "other labels")
    refused(C.ALREADY_EXISTS, lambda: add(client, "again", "a.png", image, labels, split=TEST, group="g"), "another split")
    refused(C.ALREADY_EXISTS, lambda: add(client, "again", "a.png", image, labels), "another group")
    refused(C.ALREADY_EXISTS, lambda: create(client, "again"), "again")


def test_an_image_or_a_group_is_in_one_split_only(client):
    create(client, "splits")
    image, labels = make(8)
    add(client, "splits", "a.png", image, labels, group="stack 1")
    refused(C.FAILED_PRECONDITION, lambda: add(client, "splits", "b.png", image, labels, split=VALIDATION), "a.png", "train")
    other = make(9)
    refused(C.FAILED_PRECONDITION, lambda: add(client, "splits", "c.png", *other, split=TEST, group="stack 1"), "stack 1", "a.png")
    assert not get(client, "splits").groups_across_splits
    add(client, "splits", "c.png", *other, split=TEST, group="stack 1", group_across_splits=True)
    assert list(get(client, "splits").groups_across_splits) == ["stack 1"]


def test_files_that_are_there_need_not_be_sent_again(client):
    create(client, "sent")
    create(client, "not-sent")
    image, labels = make(20)
    hashes = [sha256(image), sha256(labels), "0" * 64]
    missing = lambda: list(client.datasets.Missing(datasets.MissingFilesRequest(sha256=hashes)).sha256)
    assert missing() == hashes
    refused(C.NOT_FOUND, lambda: add(client, "not-sent", "a.png", image, labels, held=True), "a.png", "send it")
    add(client, "sent", "a.png", image, labels)
    assert missing() == ["0" * 64]
    pair = add(client, "not-sent", "b.png", image, labels, held=True).pair
    assert pair.image_sha256 == hashes[0] and get(client, "not-sent").total_bytes == len(image) + len(labels)
    client.datasets.Delete(datasets.DeleteDatasetRequest(name="sent"))
    assert missing() == ["0" * 64]
    client.datasets.DeletePair(datasets.DeletePairRequest(dataset="not-sent", id=pair.id))
    assert missing() == hashes and not pairs(client, "not-sent")
    refused(C.INVALID_ARGUMENT, lambda: client.datasets.Missing(datasets.MissingFilesRequest(sha256=["../x"])), "../x")


def test_a_dataset_goes_when_it_expires(client):
    refused(C.INVALID_ARGUMENT, lambda: create(client, "late", expires_ms=1), "passed")
    create(client, "short", expires_ms=int(time.time() * 1000) + 3600000)
    assert get(client, "short").expires_ms > 0


def test_bad_requests_are_refused_before_anything_is_sent(client):
    create(client, "strict")
    image, labels = make(30)
    refused(C.INVALID_ARGUMENT, lambda: create(client, "../x"), "name")
    refused(C.INVALID_ARGUMENT, lambda: create(client, "x", project="a b"), "project")
    refused(C.NOT_FOUND, lambda: get(client, "nobody"), "nobody")
    refused(C.NOT_FOUND, lambda: add(client, "nobody", "a.png", image, labels), "nobody")
    refused(C.INVALID_ARGUMENT, lambda: add(client, "strict", "", image, labels), "pair.name")
    refused(C.INVALID_ARGUMENT, lambda: add(client, "strict", "x" * 256, image, labels), "256")
    refused(C.INVALID_ARGUMENT, lambda: add(client, "strict", "a", image, labels, split=0), "pair.split")
    refused(C.INVALID_ARGUMENT, lambda: add(client, "strict", "a\x1b", image, labels), "control")

    def changed(change):
        messages = list(requests("strict", "a.png", image, labels))
        change(messages)
        return client.datasets.AddPair(iter(messages))

    refused(C.INVALID_ARGUMENT, lambda: changed(lambda m: m.pop()), "end")
    refused(C.INVALID_ARGUMENT, lambda: changed(lambda m: setattr(m[1].chunk, "crc32c", 1)))
    refused(C.INVALID_ARGUMENT, lambda: changed(lambda m: setattr(m[2].chunk, "artifact", 0)), "artifact 0")
    refused(C.INVALID_ARGUMENT, lambda: changed(lambda m: setattr(m[-1].end, "total_bytes", 1)), "1 bytes")
    refused(C.INVALID_ARGUMENT, lambda: changed(lambda m: setattr(m[0].start.pair, "image_sha256", "0" * 64)), "SHA-256")
    raw = common.ImageDescription(encoding=common.IMAGE_ENCODING_RAW)
    refused(C.INVALID_ARGUMENT, lambda: changed(lambda m: m[0].start.pair.image.CopyFrom(raw)), "pair.image", "sample_type")
    assert not pairs(client, "strict")


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_what_was_added_outlives_the_daemon(own_daemon, how):
    own_daemon.start()
    client = Client(own_daemon.channel())
    create(client, "kept")
    image, labels = make(40)
    pair = add(client, "kept", "a.png", image, labels).pair
    getattr(own_daemon, how)()
    own_daemon.start()
    client = Client(own_daemon.channel())
    assert pairs(client, "kept") == [pair]
    assert (own_daemon.data / "blobs" / pair.image_sha256).read_bytes() == image
