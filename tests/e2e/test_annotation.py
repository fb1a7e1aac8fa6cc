"""Partial annotation: what does not count has no part in a run, predictions count when a person says so, and arrays are as good as files."""
import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import datasets_pb2 as datasets
from conftest import CHUNK, crc32c, refused
from test_datasets import TRAIN, VALIDATION, create, pairs, png, sha256, squares, tiff
from test_training import metrics, spec, start

C = grpc.StatusCode
Annotation, Region = datasets.Annotation, common.Region
PREDICTED = datasets.LABEL_ORIGIN_PREDICTED
SHORT = {"iterations": 3, "validate_every": 3, "patch": 32}


def described(array, **pixel_size):
    """Samples as they lie in memory, and what they are."""
    kind = getattr(common, "SAMPLE_TYPE_" + array.dtype.name.upper())
    names = {2: "yx", 3: "zyx"}[array.ndim]
    axes = [common.Axis(name=n, size=s, **(pixel_size if n in "yx" else {})) for n, s in zip(names, array.shape)]
    return common.ImageDescription(encoding=common.IMAGE_ENCODING_RAW, sample_type=kind, axes=axes)


def add(client, dataset, name, image, labels, prediction=None, split=TRAIN, annotation=None, held=False):
    """Arrays go as they are, bytes as files."""
    pair = datasets.Pair(name=name, split=split, annotation=annotation)
    sent = []
    for field, data in (("image", image), ("labels", labels), ("prediction", prediction)):
        if data is None:
            continue
        if isinstance(data, np.ndarray):
            getattr(pair, field).CopyFrom(described(data, pixel_size=0.5, unit="um"))
            data = data.tobytes()
        setattr(pair, field + "_sha256", sha256(data))
        sent.append((field, data))

    def requests():
        sizes = {} if held else {field + "_bytes": len(data) for field, data in sent}
        yield datasets.AddPairRequest(start=datasets.AddPairStart(dataset=dataset, pair=pair, **sizes))
        for artifact, (_, data) in enumerate([] if held else sent):
            for offset in range(0, len(data), CHUNK):
                piece = data[offset:offset + CHUNK]
                yield datasets.AddPairRequest(
                    chunk=common.Chunk(artifact=artifact, offset=offset, crc32c=crc32c(piece), data=piece))
        yield datasets.AddPairRequest(end=common.ChunkEnd(total_bytes=sum(sizes.values())))

    return client.datasets.AddPair(requests())


def update(client, dataset, pair, annotation=None):
    return client.datasets.UpdatePair(
        datasets.UpdatePairRequest(dataset=dataset, id=pair.id, annotation=annotation)).pair


def losses(client, dataset, model="annotated"):
    told = metrics(client, start(client, spec(dataset, model=model, **SHORT)).job.id)
    assert len(told) == 4
    return [(m.step, m.values["train_loss"], m.values.get("validation_loss")) for m in told]


def test_where_labels_count_is_kept_changed_and_part_of_what_a_pair_is(client):
    create(client, "annotated")
    image, labels = squares(48, 64, 1)
    labels[:8] = 255
    said = Annotation(ignore_label=255, annotated=[Region(y=0, x=8)], ignored=[Region(y=4, x=4, height=2, width=3)])
    pair = add(client, "annotated", "a.png", png(image), tiff(labels), annotation=said).pair
    assert pair.annotation.ignore_label == 255 and pair.object_count == len(np.unique(labels)) - 2
    box = pair.annotation.annotated[0]
    assert (box.y, box.x, box.height, box.width, box.depth, box.duration) == (0, 8, 48, 56, 1, 1)  # sizes made definite
    assert pairs(client, "annotated") == [pair]
    assert add(client, "annotated", "a.png", png(image), tiff(labels), annotation=said, held=True).existing
    refused(C.ALREADY_EXISTS, lambda: add(client, "annotated", "a.png", png(image), tiff(labels)), "another annotation")
    now = update(client, "annotated", pair, Annotation(ignored=[Region(height=1)], done=True))
    assert now.annotation.done and now.annotation.WhichOneof("ignore") is None and now.object_count == pair.object_count + 1
    assert [r.width for r in now.annotation.ignored] == [64] and pairs(client, "annotated") == [now]
    assert not update(client, "annotated", pair).HasField("annotation")
    beyond = lambda **r: (lambda: update(client, "annotated", pair, Annotation(annotated=[Region(**r)])))
    refused(C.INVALID_ARGUMENT, beyond(y=48), "annotated[0]", "rows", "48")
    refused(C.INVALID_ARGUMENT, beyond(x=60, width=5), "columns", "64")
    refused(C.INVALID_ARGUMENT, beyond(z=1), "planes")
    refused(C.INVALID_ARGUMENT, lambda: update(client, "annotated", pair, Annotation(ignore_label=0)), "background")
    refused(C.INVALID_ARGUMENT, lambda: update(client, "annotated", pair, Annotation(ignored=[Region()] * 1001)), "1000")
    pair.id = "nobody"
    refused(C.NOT_FOUND, lambda: update(client, "annotated", pair), "nobody")


def test_a_mark_below_zero_is_a_label_only_while_it_is_ignored(client):
    create(client, "negative")
    image, labels = squares(48, 64, 2)
    marked = labels.astype(np.int32)
    marked[:, :10] = -1
    refused(C.INVALID_ARGUMENT, lambda: add(client, "negative", "a.png", png(image), tiff(marked)), "-1", "whole numbers")
    pair = add(client, "negative", "a.png", png(image), tiff(marked), annotation=Annotation(ignore_label=-1)).pair
    refused(C.INVALID_ARGUMENT, lambda: update(client, "negative", pair), "-1")
    assert pairs(client, "negative") == [pair]


def test_a_prediction_goes_with_its_labels(client):
    create(client, "corrected")
    image, labels = squares(48, 64, 3)
    predicted = Annotation(origin=PREDICTED)
    refused(C.INVALID_ARGUMENT, lambda: add(client, "corrected", "a.png", image, labels, labels), "PREDICTED")
    refused(C.INVALID_ARGUMENT, lambda: add(client, "corrected", "a.png", image, labels, labels[:40], annotation=predicted),
            "prediction", "40")
    refused(C.INVALID_ARGUMENT,
            lambda: add(client, "corrected", "a.png", image, labels, labels + np.float32(0.25), annotation=predicted),
            "prediction", "0.25")
    before = np.where(labels == labels.max(), 0, labels)
    pair = add(client, "corrected", "a.png", image, labels, before, annotation=predicted).pair
    assert pair.prediction_sha256 == sha256(before.tobytes()) and pair.prediction.axes[0].size == 48
    assert not client.datasets.Missing(datasets.MissingFilesRequest(sha256=[pair.prediction_sha256])).sha256
    total = client.datasets.Get(datasets.GetDatasetRequest(name="corrected")).dataset.total_bytes
    assert total == image.nbytes + labels.nbytes + before.nbytes
    refused(C.INVALID_ARGUMENT, lambda: update(client, "corrected", pair, Annotation(done=True)), "PREDICTED")
    assert update(client, "corrected", pair, Annotation(origin=PREDICTED, done=True)).annotation.done


def test_arrays_are_as_good_as_files(client):
    image, labels = zip(*(squares(48, 64, seed) for seed in (4, 5)))
    create(client, "files")
    create(client, "arrays")
    for i, split in enumerate((TRAIN, VALIDATION)):
        add(client, "files", f"{i}.png", png(image[i]), tiff(labels[i]), split=split)
        pair = add(client, "arrays", f"{i}.png", image[i], labels[i].astype(np.float64), split=split).pair
        assert pair.image.encoding == common.IMAGE_ENCODING_RAW and pair.image.sample_type == common.SAMPLE_TYPE_UINT8
        assert [(a.name, a.size, a.pixel_size, a.unit) for a in pair.image.axes] == [
            ("y", 48, 0.5, "um"), ("x", 64, 0.5, "um")]
        assert pair.labels.sample_type == common.SAMPLE_TYPE_FLOAT64
        assert pair.object_count == len(np.unique(labels[i])) - 1
    assert losses(client, "files") == losses(client, "arrays")
    half = labels[0].astype(np.float32)
    half[3, 4] = 1.5
    refused(C.INVALID_ARGUMENT, lambda: add(client, "arrays", "half", image[0], half), "1.5", "whole numbers")

    def wrong(change):
        bad = described(image[0])
        change(bad)
        pair = datasets.Pair(name="w", split=TRAIN, image=bad, image_sha256=sha256(image[0].tobytes()),
                             labels_sha256=sha256(tiff(labels[0])))
        message = datasets.AddPairRequest(start=datasets.AddPairStart(dataset="arrays", pair=pair,
                                                                      image_bytes=image[0].nbytes, labels_bytes=10))
        return client.datasets.AddPair(iter([message]))

    refused(C.INVALID_ARGUMENT, lambda: wrong(lambda d: setattr(d.axes[0], "size", 47)), "pair.image", "bytes")
    refused(C.INVALID_ARGUMENT, lambda: wrong(lambda d: setattr(d.axes[0], "name", "q")), "pair.image", "q")
    refused(C.INVALID_ARGUMENT, lambda: wrong(lambda d: setattr(d, "sample_type", 0)), "pair.image", "sample_type")
    # Files that are held are measured, too: knowing a hash does not make them larger.
    taller = np.zeros((49, 64), np.uint8)
    pair = datasets.Pair(name="held", split=TRAIN, image=described(taller), image_sha256=sha256(image[0].tobytes()),
                         labels_sha256=sha256(tiff(labels[0])))
    messages = [datasets.AddPairRequest(start=datasets.AddPairStart(dataset="arrays", pair=pair)),
                datasets.AddPairRequest(end=common.ChunkEnd())]
    refused(C.INVALID_ARGUMENT, lambda: client.datasets.AddPair(iter(messages)), "held", "3136", "3072")


@pytest.mark.parametrize("how", ["ignored", "annotated", "label"])
def test_what_does_not_count_does_not_matter(client, how):
    said = {"ignored": Annotation(ignored=[Region(x=32)]), "annotated": Annotation(annotated=[Region(width=32)]),
            "label": Annotation(ignore_label=9999)}[how]
    told = []
    for case, nonsense in enumerate((9999, 9999, 7)):
        name = f"{how}-{case}"
        create(client, name)
        for seed, split in ((6, TRAIN), (7, VALIDATION)):
            image, labels = squares(48, 64, seed)
            if how == "label":
                labels[:, 32:] = 9999 if case < 2 else labels[:, 32:]
            else:
                labels[:, 34:] = nonsense if case < 2 else labels[::-1, 34:]  # boundaries are seen from both sides
            add(client, name, f"{seed}.png", image, labels, split=split, annotation=said if case != 1 else None)
        told.append(losses(client, name, "partial"))
    if how == "label":
        assert told[0] != told[1] and told[0] != told[2]  # as no part, as an object, as what is there
    else:
        assert told[0] == told[2] and told[0] != told[1]


def test_planes_of_a_stack_count_one_by_one(client):
    planes = [squares(32, 48, seed) for seed in (8, 9, 10)]
    image, labels = (np.stack(x) for x in zip(*planes))
    create(client, "planes")
    create(client, "one-plane")
    add(client, "planes", "stack", image, labels, annotation=Annotation(annotated=[Region(z=1, depth=1)]))
    add(client, "one-plane", "stack", image[1], labels[1])
    for name in ("planes", "one-plane"):
        add(client, name, "other", *squares(32, 48, 11), split=VALIDATION)
    assert [x[:2] for x in losses(client, "planes")] == [x[:2] for x in losses(client, "one-plane")]


def test_predictions_are_no_ground_truth_until_they_are_done(client):
    create(client, "predictions")
    image, labels = squares(48, 64, 12)
    pair = add(client, "predictions", "guess.png", image, labels, annotation=Annotation(origin=PREDICTED)).pair
    add(client, "predictions", "sure.png", *squares(48, 64, 13), split=VALIDATION)
    refused(C.FAILED_PRECONDITION, lambda: start(client, spec("predictions", **SHORT)), "0 images for training", "guess.png", "done")
    update(client, "predictions", pair, Annotation(origin=PREDICTED, done=True))
    done = losses(client, "predictions", "done")
    create(client, "drawn")
    add(client, "drawn", "guess.png", image, labels)
    add(client, "drawn", "sure.png", *squares(48, 64, 13), split=VALIDATION)
    assert losses(client, "drawn", "done") == done
