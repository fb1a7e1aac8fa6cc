"""Several images at once: the layers that are selected, and the files of a folder."""
import numpy as np
from napari.layers import Labels

from conftest import WAIT
from daemon import SAMPLE


def labels_of(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def test_selected_layers_are_segmented_one_after_the_other(viewer, panel, finish, qtbot, client, blobs):
    images = [viewer.add_image(blobs(100 + 20 * n, 120, n), name=f"well {n}", scale=(0.5, 0.5), translate=(0, 100 * n)) for n in range(3)]
    viewer.add_image(blobs(64, 64), name="not this one")
    segment = panel()
    viewer.layers.selection = set(images)
    segment.image._follow_selection()
    runs = segment.segment_selected()
    assert len(runs) == 3 and all(run.state == "running" for run in runs)
    most = []
    qtbot.waitUntil(lambda: most.append(sum("waiting for the ones before" not in r.text for r in segment.runs.running)) or not segment.runs.running,
                    timeout=WAIT)
    assert [run.state for run in runs] == ["done"] * 3, segment.message.text()
    found = {layer.name: layer for layer in labels_of(viewer)}
    assert set(found) == {"well 0 labels", "well 1 labels", "well 2 labels"}
    for image in images:
        layer = found[f"{image.name} labels"]
        assert (layer.data == client.segment(image.data, model="nuclei").labels).all()
        assert np.allclose(layer.data_to_world((3, 4)), image.data_to_world((3, 4)))


def test_a_batch_can_be_cancelled_in_part_and_what_fails_does_not_stop_the_others(viewer, panel, finish, qtbot, blobs):
    good, other = viewer.add_image(blobs(96, 96), name="good"), viewer.add_image(blobs(96, 96, 1), name="other")
    bad = viewer.add_image(np.full((64, 64), np.nan, np.float32), name="bad", contrast_limits=(0, 1))
    segment = panel()
    viewer.layers.selection = {good, other, bad}
    runs = {run.title: run for run in segment.segment_selected()}
    runs["other"].cancel()
    qtbot.waitUntil(lambda: not segment.runs.running, timeout=WAIT)
    assert {name: run.state for name, run in runs.items()} == {"good": "done", "other": "cancelled", "bad": "failed"}
    qtbot.wait(100)
    assert [layer.name for layer in labels_of(viewer)] == ["good labels"]
    assert "bad: " in segment.message.text() and "NaN" in segment.message.text() and segment.message.kind == "error"  # whatever came after it


def test_layers_with_other_axes_and_none_at_all_are_a_sentence(viewer, panel, blobs):
    flat = viewer.add_image(blobs(64, 64), name="flat")
    stack = viewer.add_image(np.stack([blobs(64, 64)] * 2), name="stack")
    segment = panel()
    viewer.layers.selection = {flat, stack}
    assert segment.segment_selected() == [] and "other axes" in segment.message.text()
    viewer.layers.selection.clear()
    assert segment.segment_selected() == [] and "No image is selected" in segment.message.text()


def test_the_images_of_a_folder_become_files_of_labels(viewer, panel, finish, qtbot, client, tmp_path, blobs):
    import tifffile

    folder = tmp_path / "plate"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", blobs(90, 100))
    tifffile.imwrite(folder / "b.tif", blobs(80, 80, 2))
    (folder / "b.png").write_bytes(SAMPLE.read_bytes())
    (folder / "broken.tif").write_bytes(b"II*\0 no image")
    (folder / "notes.txt").write_text("not an image")
    segment = panel()
    run = segment.segment_folder(str(folder))
    assert finish(run) == "done" and segment.message.kind == "warning", segment.message.text()
    assert "3 of 4 images" in segment.message.text() and "broken.tif" in segment.message.text() and "a.tif:" not in segment.message.text()
    out = folder / "labels"
    assert sorted(p.name for p in out.iterdir()) == ["a.tif", "b.png.tif", "b.tif.tif"]
    assert (tifffile.imread(out / "a.tif") == client.segment(folder / "a.tif", model="nuclei").labels).all()
    assert (tifffile.imread(out / "b.png.tif") == client.segment(SAMPLE, model="nuclei").labels).all()
    assert tifffile.imread(out / "a.tif").dtype == np.uint32
    before = (out / "a.tif").stat().st_mtime_ns
    assert finish(segment.segment_folder(str(folder))) == "done" and (folder / "labels-2" / "a.tif").exists()  # nothing is overwritten
    assert (out / "a.tif").stat().st_mtime_ns == before and not labels_of(viewer)


def test_a_folder_without_images_or_without_room_is_a_sentence(viewer, panel, finish, tmp_path, blobs):
    import tifffile

    segment = panel()
    assert finish(segment.segment_folder(str(tmp_path))) == "failed" and "no PNG or TIFF image" in segment.message.text()
    tifffile.imwrite(tmp_path / "a.tif", blobs(64, 64))
    for n in range(1, 1000):
        (tmp_path / ("labels" if n == 1 else f"labels-{n}")).touch()
    assert finish(segment.segment_folder(str(tmp_path))) == "failed" and "a thousand folders" in segment.message.text()


def test_a_folder_is_cancelled_at_once(viewer, panel, finish, qtbot, client, tmp_path, blobs):
    import tifffile

    for n in range(4):
        tifffile.imwrite(tmp_path / f"{n}.tif", np.tile(blobs(500, 500), (4, 4)))
    segment = panel()
    run = segment.segment_folder(str(tmp_path))
    qtbot.waitUntil(lambda: run.share >= 0, timeout=WAIT)
    run.cancel()
    assert run.state == "cancelled" and "cancelled" in segment.message.text()
    qtbot.wait(1000)
    assert len(list((tmp_path / "labels").iterdir())) < 4
