"""The asynchronous client: the same results, and a cancelled task stops the server's work."""
import asyncio
import time

import numpy as np
import pytest

import bioseg
import bioseg.aio
from bioseg import errors
from daemon import MODEL, SAMPLE


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 120))


def test_many_at_once_give_what_the_blocking_client_gives(daemon, client, blobs):
    images = [blobs(160, 120, s) for s in range(4)]

    async def all_of_them():
        async with bioseg.aio.Client(daemon.address()) as c:
            return await asyncio.gather(*(c.segment(i, model="nuclei") for i in images))

    for image, result in zip(images, run(all_of_them())):
        assert (result.labels == client.segment(image, model="nuclei").labels).all()


def test_other_thresholds_without_the_network(daemon, blobs):
    async def story():
        async with bioseg.aio.Client(daemon.address()) as c:
            result = await c.segment(blobs(200, 200), model="nuclei", keep_maps=True)
            other = await c.relabel(result, parameters={"min_size": 200})
            assert other.provenance["kept_maps"] and other.object_count < result.object_count

    run(story())


def test_a_preview_comes_in_the_event_loop(daemon, blobs):
    async def story():
        import threading

        seen = []
        async with bioseg.aio.Client(daemon.address()) as c:
            await c.segment(np.tile(blobs(300, 300), (2, 2)), model="nuclei", tile=64, preview_side=100,
                            preview=lambda p: seen.append((threading.current_thread(), p.pixels.shape)))
        assert seen and set(seen) == {(threading.main_thread(), (100, 100))}

    run(story())


def test_jobs_models_and_refusals(daemon, blobs):
    async def story():
        async with bioseg.aio.Client(daemon.address()) as c:
            assert (await c.info()).version
            model = await c.import_model(MODEL, "async")
            assert model.reference in [m.reference for m in await c.models()] and (await c.model("async")).parameters
            job = await c.submit(SAMPLE, model="async")
            states = [j.state async for j in (await c.job(job.id)).watch()]
            assert states[-1] == "succeeded"
            result = await job.result()
            assert result.object_count > 100 and job.id in [j.id async for j in c.jobs(state="succeeded")]
            await job.delete()
            with pytest.raises(LookupError):
                await c.job(job.id)
            with pytest.raises(ValueError, match="which axis"):
                await c.segment(np.zeros((4, 4, 4), np.uint8), model="async")
            with pytest.raises(LookupError):
                await c.segment(blobs(32, 32), model="nowhere")
            failed = await c.submit(b"nothing", model="async")
            with pytest.raises(errors.JobFailed):
                await failed.result()

    run(story())


def test_a_cancelled_task_frees_the_device(daemon, client, blobs):
    async def story():
        async with bioseg.aio.Client(daemon.address()) as c:
            began = asyncio.Event()
            task = asyncio.ensure_future(c.segment(np.tile(blobs(500, 500), (6, 6)), model="nuclei", tile=256,
                                                   progress=lambda p: began.set() if p.phase == "tiles" and p.done else None))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(story())
    began = time.monotonic()
    client.segment(blobs(64, 64), model="nuclei")
    assert time.monotonic() - began < 3
