"""Parts of an image and stacks of planes: regions, what the window shows, linked planes, channels of stacks."""
import numpy as np
import pytest
from napari.layers import Labels

from napari_bioseg import _runs, _work


def labels_of(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def every_plane(segment, linked=None):
    segment.image.planes.setCurrentIndex(segment.image.planes.findText("every one"))
    if linked is not None:
        segment.image.linked.setCurrentIndex(segment.image.linked.findText(linked))
        assert segment.image.linked.currentText() == linked


@pytest.fixture(scope="module")
def drifting():
    """Discs that drift from plane to plane, (z, y, x): each overlaps itself in the next."""
    def make(planes=3, height=100, width=120, seed=0):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        stack = random.normal(20, 3, (planes, height, width))
        for n in range(6):
            cy, cx, r = 20 + 40 * (n // 3), 25 + 35 * (n % 3), 9 + n % 3
            for z in range(n % 2, planes):
                stack[z][(y - cy - z) ** 2 + (x - cx - z) ** 2 < r * r] = 160
        return stack.clip(0, 255).astype(np.uint8)

    return make


def boxes_hold_their_objects(layer, plane=slice(None)):
    """The positions in the table are those in the labels."""
    rows = layer.features
    for index, top, left, bottom, right in zip(rows["index"], rows["top"], rows["left"], rows["bottom"], rows["right"]):
        inside = layer.data[..., int(top):int(bottom), int(left):int(right)]
        assert (inside == index).any() and (inside == index).sum() == (layer.data == index).sum()
    return len(rows) > 0


def test_a_drawn_region_has_the_labels_that_the_network_sees_with_its_surroundings(viewer, panel, finish, client, blobs):
    pixels = blobs(400, 520)
    image = viewer.add_image(pixels, scale=(0.5, 0.5), translate=(100, 0))
    segment = panel()
    segment.image._draw_region()
    shapes = segment.image.region.currentData()
    assert segment.segment() is None and "Nothing is drawn" in segment.message.text()
    corners = np.array([[220, 230], [220, 330], [320, 330], [320, 230]]) - 0.5
    shapes.add([shapes.world_to_data(image.data_to_world(c)) for c in corners], shape_type="rectangle")
    segment.layer.setCurrentIndex(0)
    assert finish(segment.segment()) == "done", segment.message.text()
    layer = labels_of(viewer)[0]
    assert layer.data.shape == (100, 100) and np.allclose(layer.data_to_world((0, 0)), image.data_to_world((220, 230)))
    assert (layer.data == client.segment(pixels, model="nuclei", region=(220, 230, 100, 100), statistics="region").labels).all()
    assert boxes_hold_their_objects(layer)
    shapes.data = [np.array([[-900, -900], [-900, -800], [-800, -800], [-800, -900]])]
    assert segment.segment() is None and "outside of the image" in segment.message.text()


def test_what_the_window_shows_is_segmented_of_plain_and_of_multiscale_images(viewer, panel, finish, qtbot, client, blobs):
    pixels = blobs(600, 700)
    segment = panel()
    for data, options in ((pixels, {}), ([pixels, pixels[::2, ::2], pixels[::4, ::4]], {"multiscale": True})):
        image = viewer.add_image(data, name="large", scale=(2, 2), **options)
        segment.image.region.setCurrentIndex(segment.image.region.findText("what the window shows"))
        viewer.camera.center, viewer.camera.zoom = (0, 640, 600), 4
        qtbot.wait(100)
        assert finish(segment.segment()) == "done", segment.message.text()
        layer = labels_of(viewer)[0]
        height, width = layer.data.shape
        top, left = (round(float(n)) for n in image.world_to_data(layer.data_to_world((0, 0))))
        assert 20 < height < 200 and 20 < width < 300
        assert abs(top + height / 2 - 320) <= 1 and abs(left + width / 2 - 300) <= 1
        assert (layer.data == client.segment(pixels, model="nuclei", region=(top, left, height, width), statistics="region").labels).all()
        viewer.layers.clear()
    viewer.add_image(pixels, name="large")
    segment.image.region.setCurrentIndex(segment.image.region.findText("what the window shows"))
    viewer.camera.center = (0, 90000, 90000)
    assert segment.segment() is None and "nothing of large is in the window" in segment.message.text().lower()
    viewer.dims.ndisplay = 3
    assert segment.segment() is None and "in 3D" in segment.message.text()
    viewer.dims.ndisplay = 2


def test_a_region_of_a_stack_and_new_thresholds_of_it(viewer, panel, finish, qtbot, client, drifting):
    stack = np.tile(drifting(2), (1, 3, 3))
    viewer.add_image(stack, name="stack")
    segment = panel()
    segment.image._draw_region()
    segment.image.region.currentData().add([[100, 110], [100, 210], [190, 210], [190, 110]], shape_type="rectangle")
    segment.layer.setCurrentIndex(0)
    every_plane(segment)
    assert finish(segment.segment()) == "done", segment.message.text()
    layer, offset = labels_of(viewer)[0], 0
    top, left = (round(float(n)) for n in layer.translate[-2:])
    for plane, image in zip(layer.data, stack):
        alone = client.segment(image, model="nuclei", region=(top, left, *plane.shape), statistics="region")
        assert (plane == np.where(alone.labels, alone.labels + offset, 0)).all()
        offset += alone.object_count
    assert offset and boxes_hold_their_objects(layer)
    steps = len(segment.runs._steps)
    segment.form.fields["min_size"].set(300)
    qtbot.waitUntil(lambda: len(segment.runs._steps) > steps or segment.message.kind == "error", timeout=60000)
    assert "did not run" in segment.message.text() and layer.data.max() < offset and boxes_hold_their_objects(layer)


def test_linked_planes_are_the_servers_and_called_linked_2d(viewer, panel, finish, qtbot, client, drifting):
    stack = drifting()
    image = viewer.add_image(stack, name="stack", scale=(3, 0.5, 0.5), translate=(1, 2, 3))
    segment = panel()
    every_plane(segment, "linked 2D")
    assert finish(segment.segment()) == "done", segment.message.text()
    layer = labels_of(viewer)[0]
    expected = client.segment(stack, model="nuclei", axes="zyx", planes="linked")
    assert (layer.data == expected.labels).all() and expected.object_count < client.segment(stack, model="nuclei", axes="zyx").object_count
    assert layer.name == "stack labels (linked 2D)" and "linked 2D" in segment.message.text()
    assert layer.metadata["bioseg"]["planes"] == "linked 2D" and (layer.features["z_end"] - layer.features["z"]).max() > 1
    for corner in ((0, 0, 0), (2, 99, 50)):
        assert np.allclose(layer.data_to_world(corner), image.data_to_world(corner))
    segment.form.fields["min_size"].set(200)
    qtbot.waitUntil(lambda: "has not kept" in segment.message.text(), timeout=10000)
    assert labels_of(viewer) == [layer]
    segment.undo_button.click()
    qtbot.waitUntil(lambda: not labels_of(viewer), timeout=10000)


def test_a_time_series_of_stacks_is_linked_along_the_chosen_axis_with_ids_that_occur_once(viewer, panel, finish, qtbot, client, drifting):
    series = np.stack([drifting(2), drifting(2, seed=1)])  # (t, z, y, x)
    viewer.add_image(series, name="series")
    segment = panel()
    every_plane(segment)
    offered = [segment.image.linked.itemText(n) for n in range(segment.image.linked.count())]
    assert offered == ["independent", "linked 2D along axis 0 (2)", "linked 2D along axis 1 (2)"]
    every_plane(segment, "linked 2D along axis 1 (2)")
    assert finish(segment.segment()) == "done", segment.message.text()
    layer, offset = labels_of(viewer)[0], 0
    for stack, found in zip(series, layer.data):
        alone = client.segment(stack, model="nuclei", axes="zyx", planes="linked")
        assert (found == np.where(alone.labels, alone.labels + offset, 0)).all()
        offset += alone.object_count
    assert len(layer.features) == offset == layer.data.max()


def test_linked_planes_as_a_job_are_opened_again(viewer, panel, finish, qtbot, client, drifting):
    viewer.add_image(np.stack([drifting(2), drifting(2, seed=1)]), name="linked series", scale=(1, 2, 1, 1))
    segment = panel()
    segment.as_job.setChecked(True)
    every_plane(segment, "linked 2D along axis 1 (2)")
    assert finish(segment.segment()) == "done", segment.message.text()
    first = labels_of(viewer)[0]
    viewer.layers.clear()
    _runs._runs.clear()  # what a new napari knows: nothing
    jobs = panel("Jobs")
    qtbot.waitUntil(lambda: any("linked series" in g.title for g in jobs.groups), timeout=60000)
    jobs.table.selectRow(next(n for n, g in enumerate(jobs.groups) if "linked series" in g.title))
    assert finish(jobs.open_selected()[0]) == "done", jobs.message.text()
    again = labels_of(viewer)[0]
    assert (again.data == first.data).all() and again.name == first.name and list(again.scale) == [1, 2, 1, 1]
    assert first.name == "linked series labels (linked 2D)"
    jobs.delete_selected()


def test_a_preview_follows_the_planes_of_a_linked_stack(viewer, panel, finish, qtbot, drifting):
    image = viewer.add_image(np.tile(drifting(2), (1, 4, 4)), name="stack", scale=(5, 1, 1))
    segment = panel()
    segment.form.fields["tile"].set(128)
    every_plane(segment, "linked 2D")
    run = segment.segment()
    seen = set()

    def look():
        seen.update(float(la.data_to_world((0, 0, 0))[0]) for la in viewer.layers if la.name.endswith("(preview)"))
        return run.state != "running"

    qtbot.waitUntil(look, timeout=120000)
    assert run.state == "done" and seen and seen <= {float(image.data_to_world((z, 0, 0))[0]) for z in range(2)}


def test_stacks_with_channels_and_of_rgb_planes(viewer, panel, finish, client, drifting):
    channels = np.stack([drifting(2, seed=s) for s in range(3)])  # (c, z, y, x)
    viewer.add_image(channels, name="channels")
    segment = panel()
    segment.image.channel_axis.setCurrentIndex(1)
    segment.image.channel.setCurrentIndex(2)
    every_plane(segment)
    assert finish(segment.segment()) == "done", segment.message.text()
    layer = labels_of(viewer)[0]
    assert layer.data.shape == (1, 2, 100, 120)
    assert (layer.data[0] == client.segment(channels[2], model="nuclei", axes="zyx").labels).all()
    viewer.layers.clear()
    viewer.add_image(np.moveaxis(channels, 0, -1).copy(), rgb=True, name="colours")
    every_plane(segment, "linked 2D")
    assert finish(segment.segment()) == "failed" and "choose red, green or blue" in segment.message.text()
    segment.image.channel.setCurrentIndex(segment.image.channel.findText("green"))
    assert finish(segment.segment()) == "done", segment.message.text()
    assert (labels_of(viewer)[0].data == client.segment(channels[1], model="nuclei", axes="zyx", planes="linked").labels).all()


def test_positions_of_planes_and_of_stacks_are_those_of_the_order():
    assert _work.positions((2, 3, 5, 5), None) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert _work.positions((2, 3, 5, 5), 1) == [(0, slice(None)), (1, slice(None))]
    assert _work.positions((5, 5), None) == [()]
