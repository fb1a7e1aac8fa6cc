"""Datasets: images with labels to train on. What the server has already is not sent again, so that the same calls go on where they broke off."""
from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc

from . import _requests as req
from ._crc32c import crc32c
from ._images import ImageSource, describe
from ._progress import Report, finish, reporter
from ._tiff import image_file, labels_file
from .errors import BiosegError, Cancelled, InvalidRequest, NotReachable, from_rpc
from .results import Progress, Region, _time
from .v1 import common_pb2 as common
from .v1 import datasets_pb2 as datasets

__all__ = ["Annotation", "Dataset", "DatasetCalls", "Pair", "pair_hashes"]

SPLITS = {"train": datasets.SPLIT_TRAIN, "validation": datasets.SPLIT_VALIDATION, "test": datasets.SPLIT_TEST}
_SPLIT_NAMES = {number: name for name, number in SPLITS.items()}
_ATTEMPTS = 3


@dataclass(frozen=True)
class Dataset:
    """A list of pairs, of which so many are for each split. groups_across_splits: groups with pairs in more than one, whose scores look better
    than they are."""

    name: str
    owner: str
    project: str
    labels: dict[str, str]
    description: str
    licence: str
    created: datetime | None
    expires: datetime | None
    pair_count: int
    total_bytes: int
    train_count: int
    validation_count: int
    test_count: int
    groups_across_splits: tuple[str, ...]

    @classmethod
    def from_message(cls, d: datasets.Dataset) -> Dataset:
        return cls(d.name, d.owner, d.project, dict(d.labels), d.description, d.licence, _time(d.created_ms), _time(d.expires_ms), d.pair_count,
                   d.total_bytes, d.train_count, d.validation_count, d.test_count, tuple(d.groups_across_splits))


@dataclass(frozen=True)
class Annotation:
    """Where the labels of a pair count; what does not is neither object nor background to a loss or a score.

    ignore_label: pixels of this value do not count. annotated: boxes as `segment` takes regions; when there are any, nothing outside of all of
    them counts. ignored: nothing inside counts. predicted: a model made the labels; what nobody changed counts only when done: someone has
    looked at all of it. Of labels that were added with the prediction beside them, what was changed counts in any case.
    """

    ignore_label: int | None = None
    annotated: tuple[Any, ...] = ()
    ignored: tuple[Any, ...] = ()
    predicted: bool = False
    done: bool = False

    def message(self) -> datasets.Annotation:
        made = datasets.Annotation(annotated=map(req.region_message, self.annotated), ignored=map(req.region_message, self.ignored), done=self.done,
                                   origin=datasets.LABEL_ORIGIN_PREDICTED if self.predicted else datasets.LABEL_ORIGIN_DRAWN)
        if self.ignore_label is not None:
            made.ignore_label = self.ignore_label
        return made

    @classmethod
    def from_message(cls, a: datasets.Annotation) -> Annotation:
        def regions(found: Any) -> tuple[Region, ...]:
            return tuple(Region(r.y, r.x, r.height, r.width, r.z, r.depth, r.t, r.duration) for r in found)

        return cls(a.ignore_label if a.HasField("ignore_label") else None, regions(a.annotated), regions(a.ignored),
                   a.origin == datasets.LABEL_ORIGIN_PREDICTED, a.done)


@dataclass(frozen=True)
class Pair:
    """An image with its labels. split: "train", "validation" or "test". shape: of the image by axis name, as its file states it. annotation:
    where the labels count; None: everywhere. prediction_sha256: None where no prediction is beside the labels."""

    id: str
    name: str
    split: str
    group: str
    shape: dict[str, int]
    object_count: int
    image_sha256: str
    labels_sha256: str
    created: datetime | None
    annotation: Annotation | None = None
    prediction_sha256: str | None = None

    @classmethod
    def from_message(cls, p: datasets.Pair) -> Pair:
        return cls(p.id, p.name, _SPLIT_NAMES.get(p.split, "unknown"), p.group, {a.name: a.size for a in p.image.axes}, p.object_count,
                   p.image_sha256, p.labels_sha256, _time(p.created_ms), Annotation.from_message(p.annotation) if p.HasField("annotation") else None,
                   p.prediction_sha256 or None)


@dataclass
class _Offer:
    """A pair that is to be added: its message, and where its files come from."""

    pair: datasets.Pair
    files: tuple[ImageSource, ...]  # image, labels, and the prediction if there is one

    @property
    def hashes(self) -> tuple[str, ...]:
        return (self.pair.image_sha256, self.pair.labels_sha256, self.pair.prediction_sha256)[:len(self.files)]


def _source(content: Any, array_file: Any, axes: str | None) -> ImageSource:
    """A path or the bytes of a PNG or TIFF file as they are; an array as such a file."""
    if isinstance(content, (str, os.PathLike, bytes, bytearray, memoryview)):
        if axes is not None:
            raise InvalidRequest(f"axes={axes!r}: a file of a dataset states its own axes; they can be said of arrays")
        return describe(content)
    return describe(array_file(content, axes))


def _sha256(source: ImageSource) -> str:
    digest = hashlib.sha256()
    for piece in source.pieces():
        digest.update(piece)
    return digest.hexdigest()


def pair_hashes(image: Any, labels: Any, *, axes: str | None = None) -> tuple[str, str]:
    """SHA-256 of both as `Client.add_pair` would send them: what Pair.image_sha256 and labels_sha256 are then."""
    return _sha256(_source(image, image_file, axes)), _sha256(_source(labels, labels_file, axes))


def _offer(image: Any, labels: Any, name: str | None = None, split: str = "train", group: str = "", axes: str | None = None,
           annotation: Annotation | None = None, prediction: Any = None) -> _Offer:
    if name is None:
        if not isinstance(image, (str, os.PathLike)):
            raise InvalidRequest("a pair needs a name, by which it is found again: name=... (of files it is that of the image)")
        name = Path(image).name
    number = req._one_of("split", split, SPLITS)
    files = _source(image, image_file, axes), _source(labels, labels_file, axes)
    pair = datasets.Pair(name=name, split=number, group=group, image_sha256=_sha256(files[0]), labels_sha256=_sha256(files[1]))
    if prediction is not None:
        files = *files, _source(prediction, labels_file, axes)
        pair.prediction_sha256 = _sha256(files[2])
        annotation = replace(annotation or Annotation(), predicted=True)
    if annotation is not None:
        pair.annotation.CopyFrom(annotation.message())
    return _Offer(pair, files)


def _messages(dataset: str, offer: _Offer, missing: set[str], across_splits: bool, sent: Any) -> Iterator[datasets.AddPairRequest]:
    sizes = [source.total_bytes if sha256 in missing else 0 for source, sha256 in zip(offer.files, offer.hashes)]
    yield datasets.AddPairRequest(start=datasets.AddPairStart(dataset=dataset, pair=offer.pair, image_bytes=sizes[0], labels_bytes=sizes[1],
                                                              prediction_bytes=sum(sizes[2:]), group_across_splits=across_splits))
    total = 0
    for artifact, source in enumerate(offer.files):
        offset = 0
        for piece in source.pieces() if sizes[artifact] else ():
            yield datasets.AddPairRequest(chunk=common.Chunk(artifact=artifact, offset=offset, crc32c=crc32c(piece), data=bytes(piece)))
            offset += len(piece)
            sent(total + offset, sum(sizes))
        total += offset
    yield datasets.AddPairRequest(end=common.ChunkEnd(total_bytes=total))


def _name(dataset: Any) -> str:
    return dataset if isinstance(dataset, str) else dataset.name


class DatasetCalls:
    """What bioseg.Client can do with datasets. A dataset is named by its name, or by a Dataset."""

    _unary: Any
    _calls: Any
    _metadata: Any
    _reached: bool
    address: str

    def create_dataset(self, name: str, *, description: str = "", licence: str = "", labels: Mapping[str, str] | None = None, project: str = "",
                       keep_hours: float | None = None) -> Dataset:
        """An empty dataset. licence: of the data. AlreadyExists if there is one of this name."""
        made = datasets.Dataset(name=name, description=description, licence=licence, labels=dict(labels or {}), project=project)
        if keep_hours is not None:
            made.expires_ms = int((time.time() + keep_hours * 3600) * 1000)
        return Dataset.from_message(self._unary("Datasets/Create", datasets.CreateDatasetRequest(dataset=made)).dataset)

    def dataset(self, name: str) -> Dataset:
        """One of the caller's datasets. NotFound if there is none."""
        return Dataset.from_message(self._unary("Datasets/Get", datasets.GetDatasetRequest(name=name)).dataset)

    def datasets(self, *, labels: Mapping[str, str] | None = None, project: str = "") -> Iterator[Dataset]:
        """The caller's datasets, by name."""
        token = ""
        while True:
            answer = self._unary("Datasets/List", datasets.ListDatasetsRequest(page=common.Page(size=1000, token=token), project=project,
                                                                               labels=dict(labels or {})))
            yield from map(Dataset.from_message, answer.datasets)
            token = answer.next_page_token
            if not token:
                return

    def delete_dataset(self, dataset: Any) -> None:
        """Refused while runs that have not finished need it."""
        self._unary("Datasets/Delete", datasets.DeleteDatasetRequest(name=_name(dataset)))

    def pairs(self, dataset: Any, *, split: str | None = None) -> Iterator[Pair]:
        """The pairs of a dataset, of one split or of all."""
        request = datasets.ListPairsRequest(dataset=_name(dataset), page=common.Page(size=1000))
        if split is not None:
            request.split = req._one_of("split", split, SPLITS)
        while True:
            answer = self._unary("Datasets/ListPairs", request)
            yield from map(Pair.from_message, answer.pairs)
            request.page.token = answer.next_page_token
            if not request.page.token:
                return

    def delete_pair(self, dataset: Any, pair: Any) -> None:
        """pair: a Pair, or its id. Refused while runs that have not finished need the dataset."""
        self._unary("Datasets/DeletePair", datasets.DeletePairRequest(dataset=_name(dataset), id=pair if isinstance(pair, str) else pair.id))

    def annotate(self, dataset: Any, pair: Any, annotation: Annotation | None) -> Pair:
        """Says anew where the labels of a pair count, e.g. that they are done; None: everywhere. Runs that have begun keep to what they had."""
        request = datasets.UpdatePairRequest(dataset=_name(dataset), id=pair if isinstance(pair, str) else pair.id)
        if annotation is not None:
            request.annotation.CopyFrom(annotation.message())
        return Pair.from_message(self._unary("Datasets/UpdatePair", request).pair)

    def add_pair(self, dataset: Any, image: Any, labels: Any, *, name: str | None = None, split: str = "train", group: str = "",
                 axes: str | None = None, annotation: Annotation | None = None, prediction: Any = None, across_splits: bool = False,
                 progress: Report = None) -> Pair:
        """Adds an image with its labels. The same pair again is answered with the first one, and a file that one of the caller's datasets
        holds is not sent: what broke off is simply called again.

        image, labels: arrays, or paths or bytes of PNG or TIFF files. Labels are whole numbers, one for each object, 0 for the background.
        name: what the pair is called, once in a dataset; of a file its name. split: "train", "validation" or "test".
        group: what belongs together, e.g. the planes of one stack: all pairs of a group are in one split, unless across_splits says otherwise.
        axes: of an array that has not two dimensions, e.g. "zyx" or "yxc"; labels have the same without c.
        annotation: where the labels count; None: everywhere. prediction: the labels as the model made them before a person corrected them:
        what was changed counts then, and the rest when the annotation says done.
        """
        report = reporter(progress)
        try:
            return self._add(_name(dataset), _offer(image, labels, name, split, group, axes, annotation, prediction), None, across_splits, report)
        finally:
            finish(report)

    def add_pairs(self, dataset: Any, pairs: Iterable[Mapping[str, Any]], *, progress: Report = None) -> Iterator[tuple[str, Pair | BiosegError]]:
        """Adds many: each a dict of what `add_pair` takes. Yields (name, pair), or (name, the error) for one that is refused by itself; errors
        that would refuse all of them (no server, no permission) are raised."""
        report = reporter(progress)
        try:
            for n, given in enumerate(pairs):
                given = dict(given)
                across = given.pop("across_splits", False)
                name = str(given.get("name") or (Path(given["image"]).name if isinstance(given.get("image"), (str, os.PathLike)) else n))
                try:
                    offer = _offer(**given)
                    yield name, self._add(_name(dataset), offer, None, across, report)
                except (NotReachable, PermissionError, Cancelled):
                    raise
                except TypeError as error:
                    raise InvalidRequest(f"{name}: a pair is a dict of image, labels and what else add_pair takes ({error})") from None
                except BiosegError as error:
                    yield name, error
        finally:
            finish(report)

    def missing_files(self, hashes: Iterable[str]) -> set[str]:
        """Of these files, by SHA-256 in hex, those that none of the caller's datasets holds."""
        wanted, found = list(dict.fromkeys(hashes)), set()
        for first in range(0, len(wanted), 1000):
            found |= set(self._unary("Datasets/Missing", datasets.MissingFilesRequest(sha256=wanted[first:first + 1000])).sha256)
        return found

    def _add(self, dataset: str, offer: _Offer, missing: set[str] | None, across_splits: bool, report: Any) -> Pair:
        for attempt in range(_ATTEMPTS):
            absent = missing if missing is not None else self.missing_files(offer.hashes)
            failure: list[BaseException] = []

            def messages(absent: set[str] = absent, failure: list[BaseException] = failure) -> Iterator[datasets.AddPairRequest]:
                try:
                    yield from _messages(dataset, offer, absent, across_splits, lambda n, of: report(Progress("upload", n, of)))
                except BaseException as error:  # of the progress function, or of a file; gRPC would hide it behind a status of its own
                    failure.append(error)
                    raise

            try:
                return Pair.from_message(self._calls["Datasets/AddPair"](messages(), metadata=self._metadata).pair)
            except grpc.RpcError as error:
                if failure:
                    raise failure[0] from None
                if error.code() != grpc.StatusCode.UNAVAILABLE or not self._reached or attempt == _ATTEMPTS - 1:
                    raise from_rpc(error, self.address) from None
            missing = None
            time.sleep(1)
        raise AssertionError("the last attempt returns or raises")
