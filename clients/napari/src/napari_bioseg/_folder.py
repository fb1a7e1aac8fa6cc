"""The images of a folder, from file to file: what a viewer is not needed for but comes handy in one.

For threads; Qt and the viewer are not touched. Labels come as TIFF files (uint32) into a new folder beside the images: nothing is overwritten.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bioseg
from bioseg.client import image_files
from bioseg.errors import BiosegError, InvalidRequest, NotReachable

from ._sentences import sentence
from ._work import Cancel, Report

Said = tuple[str, str]  # "information" or "warning", and a text
_MOST_NAMED = 5


@dataclass(frozen=True)
class FolderOrder:
    folder: Path
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    channel: int | None = None


def segment_folder(client: bioseg.Client, order: FolderOrder, cancel: Cancel, report: Report) -> Said:
    """One image after the other. Those that fail by themselves are named at the end; InvalidRequest if the folder has none."""
    paths = image_files(order.folder, False)
    if not paths:
        raise InvalidRequest(f"there is no PNG or TIFF image in {order.folder}")
    out = _new_folder(order.folder)
    failed: list[str] = []
    objects = 0
    for n, path in enumerate(paths):
        cancel.check()
        where = f"{path.name}, {n + 1} of {len(paths)}"
        report(where, n / len(paths))
        try:
            result = _segment(client, order, path, cancel)
        except (NotReachable, PermissionError):
            raise
        except BiosegError as error:
            cancel.check()
            failed.append(f"{path.name}: {sentence(error, client.address, connected=True)}")
            continue
        _write(out / _name(path, paths), result.labels)
        objects += result.object_count
    done = len(paths) - len(failed)
    text = f"{order.folder.name}: {done} of {len(paths)} images segmented, {objects} objects; labels in {out}."
    more = [f"… and {len(failed) - _MOST_NAMED} more."] if len(failed) > _MOST_NAMED else []
    return ("warning" if failed else "information", "\n".join([text, *failed[:_MOST_NAMED], *more]))


def _segment(client: bioseg.Client, order: FolderOrder, path: Path, cancel: Cancel) -> bioseg.Result:
    running = client.start(path, model=order.model, parameters=order.parameters, channel=order.channel)
    cancel.stops(running.cancel)
    try:
        return running.result()
    finally:
        cancel.stops(None)


def _new_folder(folder: Path) -> Path:
    for n in range(1, 1000):
        out = folder / ("labels" if n == 1 else f"labels-{n}")
        try:
            out.mkdir()
            return out
        except FileExistsError:
            continue
        except OSError as error:
            raise InvalidRequest(f"no folder for the labels can be made in {folder}: {error.strerror}") from None
    raise InvalidRequest(f"{folder} has a thousand folders of labels")


def _name(path: Path, paths: list[Path]) -> str:
    alone = sum(p.stem == path.stem for p in paths) == 1
    return f"{path.stem if alone else path.name}.tif"


def _write(path: Path, labels: Any) -> None:
    from tifffile import imwrite  # comes with napari

    try:
        imwrite(path, labels, compression="zlib")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from None
