"""Datasets and training through the Python client: pairs from arrays and files, runs followed, steered, killed and found again."""
import asyncio

import numpy as np
import pytest

import bioseg
import bioseg.aio
from bioseg import errors
from bioseg._tiff import image_file, labels_file
from daemon import MODEL, ROOT, Daemon

IMAGES = ROOT / "tests" / "fixtures" / "images"
NAMES = ["dsb_0147", "dsb_0148", "dsb_0152", "dsb_0161"]
# A U-Net of two levels: a step takes some milliseconds.
SMALL = {"features": 4, "depth": 2, "patch": 64, "batch": 2, "iterations": 20, "validate_every": 10, "checkpoint_every": 10, "learning_rate": 3e-3}
LONG = {**SMALL, "iterations": 1000000, "validate_every": 20, "checkpoint_every": 20}


def squares(height, width, seed=0):
    """Bright squares, numbered."""
    random = np.random.default_rng(seed)
    image, labels = random.normal(20, 3, (height, width)).clip(0, 255), np.zeros((height, width), np.int64)
    for i, y in enumerate(range(4, height - 12, 16)):
        for k, x in enumerate(range(4, width - 12, 16)):
            image[y:y + 8, x:x + 8] = 150
            labels[y:y + 8, x:x + 8] = 1 + i * 100 + k
    return image.astype(np.uint8), labels


@pytest.fixture(scope="module")
def data(daemon):
    with bioseg.Client(daemon.address()) as client:
        client.create_dataset("dsb", licence="CC0-1.0", labels={"what": "nuclei"})
        added = dict(client.add_pairs("dsb", [{"image": IMAGES / f"{n}.png", "labels": IMAGES / f"{n}.labels.png",
                                               "split": "validation" if n == NAMES[-1] else "train"} for n in NAMES]))
        assert list(added) == [f"{n}.png" for n in NAMES] and all(isinstance(p, bioseg.Pair) for p in added.values()), added
    return "dsb"


@pytest.fixture(scope="module")
def trained(daemon, data):
    """A run that nobody disturbs, what it told, and its model."""
    with bioseg.Client(daemon.address()) as client:
        told = []
        run = client.train({"dataset": data, "model": "tiny", "architecture": "unet", "recipe": "boundaries", "seed": 7, "parameters": SMALL})
        model = run.result(event=told.append)
    return run.id, told, model


def test_a_dataset_holds_pairs_from_files_and_arrays(client, data):
    found = client.dataset(data)
    assert (found.pair_count, found.train_count, found.validation_count, found.licence) == (4, 3, 1, "CC0-1.0")
    assert [d.name for d in client.datasets(labels={"what": "nuclei"})] == [data]
    assert [p.name for p in client.pairs(data, split="validation")] == ["dsb_0161.png"]
    client.create_dataset("arrays")
    image, labels = squares(48, 64)
    pair = client.add_pair("arrays", image, labels, name="one", split="test", group="g")
    assert pair.shape == {"y": 48, "x": 64} and pair.object_count == len(np.unique(labels)) - 1 > 5 and (pair.split, pair.group) == ("test", "g")
    assert client.add_pair("arrays", image, labels.astype(np.uint16), name="one", split="test", group="g").id == pair.id
    stack = np.stack([image, image[::-1]])
    planes = client.add_pair("arrays", stack, np.stack([labels, labels[::-1]]), name="stack", axes="zyx")
    assert planes.shape["z"] == 2 and planes.object_count == 2 * pair.object_count
    rgb = client.add_pair("arrays", np.dstack([image] * 3), labels, name="rgb", axes="yxc", split="validation")
    assert rgb.shape["c"] == 3 and rgb.object_count == pair.object_count
    with pytest.raises(errors.Refused, match="g"):  # a group is in one split
        client.add_pair("arrays", image[1:], labels[1:], name="two", group="g")
    client.add_pair("arrays", image[1:], labels[1:], name="two", group="g", across_splits=True)
    assert client.dataset("arrays").groups_across_splits == ("g",)
    client.delete_pair("arrays", pair)
    assert sorted(p.name for p in client.pairs("arrays")) == ["rgb", "stack", "two"]
    client.delete_dataset("arrays")
    with pytest.raises(LookupError):
        client.dataset("arrays")


def test_where_labels_count_is_said_when_they_are_added_and_anew(client):
    client.create_dataset("partial")
    image, labels = squares(48, 64)
    box = bioseg.Region(0, 0, 20, 30)
    drawn = bioseg.Annotation(ignore_label=101, annotated=(box,), ignored=((4, 4, 8, 8),))
    pair = client.add_pair("partial", image, labels, name="drawn", annotation=drawn)
    filled = {"depth": 1, "duration": 1}  # by the server
    assert pair.annotation == bioseg.Annotation(101, (box._replace(**filled),), (bioseg.Region(4, 4, 8, 8, **filled),))
    assert pair.prediction_sha256 is None
    corrected = labels.copy()
    corrected[4:12, 4:12] = 0
    predicted = client.add_pair("partial", image[1:], corrected[1:], name="predicted", prediction=labels[1:])
    assert predicted.annotation == bioseg.Annotation(predicted=True)
    assert predicted.prediction_sha256 == bioseg.pair_hashes(image[1:], labels[1:])[1] != predicted.labels_sha256
    assert client.annotate("partial", predicted, bioseg.Annotation(predicted=True, done=True)).annotation.done
    assert client.annotate("partial", pair.id, None).annotation is None
    assert [p.annotation.done for p in client.pairs("partial") if p.name == "predicted"] == [True]
    for wrong in (bioseg.Annotation(annotated=((0, 0, 99, 99),)), bioseg.Annotation(ignored=((-1, 0, 1, 1),))):
        with pytest.raises(errors.InvalidRequest):
            client.add_pair("partial", image, labels, name="x", annotation=wrong)
    client.delete_dataset("partial")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("axes", ["yx", "yxc", "tzyx", "cyx"])
def test_arrays_become_files_that_the_server_reads_as_they_were(client, dtype, axes):
    """Segmented as a file and as an array, the pixels are the same."""
    shape = {"y": 40, "x": 50, "c": 2 if axes == "cyx" else 3, "t": 2, "z": 3}
    random = np.random.default_rng(3)
    plane = np.repeat(np.repeat(random.integers(0, 2, (10, 10)), 4, 0), 5, 1) * 100 + random.integers(0, 9, (40, 50))
    image = np.empty([shape[a] for a in axes], dtype)
    image[...] = plane[..., None] if axes.endswith("c") else plane
    options = {"channel": 0} if "c" in axes else {}
    as_array = client.segment(image, model="nuclei", axes=axes, outputs=["labels", "maps"], **options)
    as_file = client.segment(image_file(image, axes), model="nuclei", outputs=["labels", "maps"], **options)
    assert as_file.axes == as_array.axes and as_file.maps.tobytes() == as_array.maps.tobytes() and as_array.labels.any()


def test_bytes_of_a_file_depend_on_the_pixels_alone():
    image, labels = squares(48, 64)
    assert image_file(image, None) == image_file(np.asfortranarray(image), "yx") == image_file(image.astype(">u1"), None)
    assert image_file(image.astype(">f4"), None) == image_file(image.astype("<f4"), None)
    assert labels_file(labels, None) == labels_file(labels.astype(np.uint32), None)
    assert labels_file(labels > 0, None) == labels_file((labels > 0).astype(np.int64), None)


def test_what_cannot_be_a_pair_is_a_sentence(client, data, tmp_path):
    image, labels = squares(48, 64)
    for wrong, sentence in (({"labels": labels.astype(float)}, "whole numbers"), ({"labels": -labels}, "from 0"),
                            ({"image": image[None]}, "which axis"), ({"name": None}, "needs a name"), ({"split": "learn"}, "train or validation"),
                            ({"axes": "xy"}, "does not describe"), ({"image": image.astype(complex)}, "not understood"),
                            ({"image": image[:0], "labels": labels[:0]}, "no pixels"), ({"image": tmp_path / "none.png"}, "cannot be read"),
                            ({"labels": labels[1:]}, "47 x 64"), ({"image": b"nothing"}, "neither|not|no "), ({"name": "x\ty"}, "name")):
        with pytest.raises(errors.InvalidRequest, match=sentence):
            client.add_pair(data, **{"image": image, "labels": labels, "name": "a", **wrong})
    with pytest.raises(errors.NotFound, match="nowhere"):
        client.add_pair("nowhere", image, labels, name="a")
    with pytest.raises(errors.AlreadyExists):
        client.create_dataset(data)
    results = dict(client.add_pairs(data, [{"image": image, "labels": labels[1:], "name": "bad"},
                                           {"image": IMAGES / "dsb_0147.png", "labels": IMAGES / "dsb_0147.labels.png"}]))
    assert isinstance(results["bad"], errors.InvalidRequest) and results["dsb_0147.png"].split == "train"
    with pytest.raises(errors.InvalidRequest, match="a dict of image"):
        list(client.add_pairs(data, [{"picture": image}]))
    assert client.dataset(data).pair_count == 4


def test_what_the_server_has_is_not_sent_again(client, data):
    client.create_dataset("again")
    sent = []
    client.add_pair("again", IMAGES / "dsb_0147.png", IMAGES / "dsb_0147.labels.png", progress=sent.append)
    assert not sent  # another dataset of ours holds both
    other = squares(64, 64)[1]
    client.add_pair("again", IMAGES / "dsb_0148.png", np.zeros((256, 256), int) + np.pad(other, ((0, 192), (0, 192))), progress=sent.append)
    assert sent[-1].done == sent[-1].total and sent[-1].total < (IMAGES / "dsb_0148.png").stat().st_size + 4 * 256 * 256
    hashes = [p.image_sha256 for p in client.pairs("again")]
    assert client.missing_files([*hashes, "0" * 64]) == {"0" * 64}
    client.delete_dataset("again")


def test_a_run_tells_every_step_and_ends_with_a_model(client, data, trained):
    run_id, told, model = trained
    assert [e.step for e in told if not e.is_validation] == list(range(1, 21)) and [e.step for e in told if e.is_validation] == [10, 20]
    assert model.reference == "tiny@1" and model.recipe == "boundaries" and model.trained
    run = client.training_run(run_id)
    assert list(run.events()) == told and list(run.events(after_step=10)) == told[10:]
    metrics = run.metrics()
    assert list(metrics.steps) == list(range(1, 21)) and list(metrics.validation_steps) == [10, 20]
    assert list(metrics.train_loss) == [e.train_loss for e in told if not e.is_validation]
    job = run.status()
    assert (job.kind, job.state, job.model, job.progress.phase) == ("train", "succeeded", "tiny@1", "steps")
    assert job.training.config["iterations"] == 20 and job.training.dataset == data and job.training.initial is None
    assert (job.training.best_step, job.training.best_validation_loss) == (metrics.best_step, metrics.best_validation_loss)
    sample = run.sample()
    assert sample.step == 20 and sample.prediction.shape == sample.target.shape == (2, *sample.image.shape[1:]) and sample.image.any()
    assert run_id in [j.id for j in client.training_runs()] and all(j.kind == "train" for j in client.training_runs())
    assert client.segment(IMAGES / "dsb_0161.png", model="tiny").labels.shape == (256, 256)
    by_name = {p.name: p for p in client.training_parameters("unet", "boundaries")}
    assert by_name["learning_rate"].default == 1e-4 and by_name["iterations"].default == 100000


def test_a_model_is_trained_on_and_knows_where_it_comes_from(client, data, trained):
    """Arguments count more than the config."""
    config = {"dataset": "nowhere", "model": "better", "architecture": "vimunet", "parameters": {"iterations": 900, "patch": 64, "validate_every": 2}}
    seen = []
    run = client.train(config, dataset=client.dataset(data), initial=trained[2], parameters={"iterations": 4}, labels={"by": "hand"})
    model = run.result(progress=seen.append)
    assert seen[-1] == bioseg.Progress("steps", 4, 4) and model.reference == "better@1"
    steps = client.lineage("better")
    assert [(s.model, s.how, s.parent, s.dataset) for s in steps] == [("better@1", "finetune", "tiny@1", data), ("tiny@1", "train", None, data)]
    assert steps[0].job_id == run.id and run.status().training.initial == "tiny@1"
    assert [j.id for j in client.training_runs(labels={"by": "hand"})] == [run.id]


def test_a_name_means_what_was_promoted_and_goes_back(client, trained):
    first = client.import_model(MODEL, "chosen").reference
    second = client.import_model(MODEL, "chosen").reference
    assert client.model("chosen").reference == second and not client.model("chosen").promoted
    assert client.promote(first, "the better one").promoted and client.model("chosen").reference == first
    client.promote(second)
    assert client.model("chosen@production").reference == second and client.rollback("chosen").reference == first
    moves = list(client.alias_moves("chosen"))
    assert {(m.kind, m.before, m.after, m.reason) for m in moves} == {("set", None, 1, "the better one"), ("set", 1, 2, ""), ("roll back", 2, 1, "")}
    assert all(m.alias == "production" and m.who and m.when for m in moves)
    with pytest.raises(errors.BiosegError):
        client.promote("chosen@17")


def test_a_run_is_paused_resumed_given_another_rate_and_cancelled(client, data):
    run = client.train(dataset=data, model="steered", architecture="unet", parameters=LONG)
    for event in run.events():
        if event.step >= 25:
            break
    run.set_learning_rate(1e-5)
    assert any(e.learning_rate == 1e-5 for e in run.events(after_step=25))
    so_far = run.metrics()
    assert len(so_far.steps) >= 25 and so_far.best_step
    assert client.segment(IMAGES / "dsb_0161.png", model=run.best).labels.shape == (256, 256)
    run.pause()
    job = run.wait()
    assert job.state == "paused" and job.error and job.training.latest_step
    with pytest.raises(errors.Refused, match="is paused"):
        run.result()
    with pytest.raises(errors.Refused):
        client.delete_dataset(data)
    paused_at = job.progress.done
    assert run.resume().state in ("queued", "running")
    assert next(run.events(after_step=paused_at)).step > paused_at
    run.cancel()
    with pytest.raises(errors.Cancelled):
        run.result()
    with pytest.raises(errors.InvalidRequest):
        run.set_learning_rate(0)


def test_what_cannot_be_trained_is_a_sentence(client, data, blobs):
    good = {"dataset": data, "model": "m", "architecture": "unet"}
    for wrong, sentence in (({"modle": "x"}, "modle"), ({"dataset": None}, "dataset is missing"), ({"architecture": None}, "unet, unetr, vimunet"),
                            ({"seed": "seven"}, "seed"), ({"parameters": {"patch": [1]}}, "neither"), ({"parameters": {"colour": 1}}, "colour"),
                            ({"recipe": "colours"}, "boundaries")):
        with pytest.raises(errors.InvalidRequest, match=sentence):
            client.train({**good, **wrong})
    with pytest.raises(errors.NotFound, match="nowhere"):
        client.train(good, dataset="nowhere")
    client.create_dataset("one-sided")
    client.add_pair("one-sided", *squares(64, 64), name="a")
    with pytest.raises(errors.Refused, match="0 for validation"):
        client.train(good, dataset="one-sided")
    job = client.submit(blobs(40, 40), model="nuclei")
    with pytest.raises(errors.NotFound, match="no training run"):
        client.training_run(job.id)
    job.cancel() if not job.status().done else None
    key = client.train(good, key="once", parameters={**SMALL, "iterations": 1}).id
    assert client.train(good, key="once", parameters={**SMALL, "iterations": 1}).id == key
    client.training_run(key).result()


def test_a_run_goes_on_and_is_followed_on_over_a_daemon_that_is_killed(tmp_path):
    daemon = Daemon(tmp_path / "data", listen="none").start()
    try:
        with bioseg.Client(daemon.address()) as client:
            client.create_dataset("squares")
            for n, split in enumerate(("train", "train", "validation")):
                client.add_pair("squares", *squares(64, 80, n), name=f"{n}", split=split)
            run = client.train(dataset="squares", model="durable", architecture="unet", parameters=LONG)
            seen = []
            for event in run.events():
                seen.append(event)
                if len(seen) == 30:
                    daemon.kill()
                    daemon.start()
                if event.step >= 80:
                    break
            steps = [e.step for e in seen if not e.is_validation]
            assert steps == list(range(1, steps[-1] + 1)) and [e.step for e in seen if e.is_validation][:3] == [20, 40, 60]
            run.cancel()
    finally:
        daemon.stop()


def test_the_same_for_asyncio(daemon, data):
    async def story():
        async with bioseg.aio.Client(daemon.address()) as client:
            await client.create_dataset("async")
            for n, split in enumerate(("train", "validation")):
                await client.add_pair("async", *squares(64, 64, n), name=f"{n}", split=split)
            assert [p.split async for p in client.pairs("async")] == ["train", "validation"]
            assert {"async", data} <= {d.name async for d in client.datasets()}
            assert (await client.training_parameters("unet"))[0].name == "iterations"
            run = await client.train(dataset="async", model="async-net", architecture="unet", parameters=LONG)
            async for event in run.events():
                if event.step >= 10:
                    break
            await run.pause()
            assert (await run.wait()).state == "paused" and (await run.metrics()).steps[-1] >= 10
            await run.cancel()
            short = await client.train(dataset="async", model="async-net", architecture="unet", parameters=SMALL)
            assert (await short.result()).reference == "async-net@1"
            assert [s.how for s in await client.lineage("async-net")] == ["train"]
            assert short.id in [j.id async for j in client.training_runs(state="succeeded")]
            assert (await (await client.training_run(short.id)).status()).done
            pair = [p async for p in client.pairs("async", split="train")][0]
            await client.delete_pair("async", pair)
            await client.delete_dataset("async")

    asyncio.run(asyncio.wait_for(story(), 120))


def test_a_plan_lists_what_is_wrong_and_starts_nothing(client, data):
    wanted = {"dataset": data, "model": "planned", "architecture": "unet", "parameters": SMALL}
    before = [j.id for j in client.training_runs()]
    plan = client.plan_training(wanted)
    assert (plan.steps, plan.train_count, plan.validation_count, plan.problem_count) == (20, 3, 1, 0) and plan.parameters > 1000 and plan.planned_bytes
    assert plan.config["iterations"] == 20 and plan.left_out == ()
    client.create_dataset("wrong")
    image, labels = squares(64, 64)
    client.add_pair("wrong", image, labels, name="good", split="validation")
    client.add_pair("wrong", image[1:], np.zeros((63, 64), int), name="empty", annotation=bioseg.Annotation(annotated=((0, 0, 1, 1),),
                                                                                                          ignored=((0, 0, 1, 1),)))
    client.add_pair("wrong", image[2:], labels[2:], name="unseen", annotation=bioseg.Annotation(predicted=True))
    plan = client.plan_training(wanted, dataset="wrong")
    assert plan.left_out == ("unseen",) and plan.problem_count >= 1 and not plan.findings[0].warning and "empty" in str(plan.findings[0])
    with pytest.raises(errors.Refused) as refused:
        client.train(wanted, dataset="wrong")
    assert refused.value.reason == "dataset-problems"
    assert [j.id for j in client.training_runs()] == before
    client.delete_dataset("wrong")
