"""What the end-to-end tests share: a daemon as a process, ways to call it, images, and the stream helpers."""
import functools
import pathlib

import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import datasets_pb2_grpc, jobs_pb2_grpc, models_pb2_grpc, segmentation_pb2_grpc, server_pb2_grpc, training_pb2_grpc
from bioseg.v1 import models_pb2 as models
from bioseg.v1 import segmentation_pb2 as seg
from bioseg.v1 import server_pb2 as server
from daemon import BIN, MODEL, ROOT, SAMPLE, Daemon  # noqa: F401 (tests take them from here)

BADFILES = ROOT / "tests" / "fixtures" / "badfiles"
CHUNK = 1 << 20

_TABLE = []
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    _TABLE.append(c)


@functools.lru_cache(maxsize=256)
def crc32c(data):
    """Castagnoli, by table: slow, but written from the definition and not from the server's code."""
    c = 0xFFFFFFFF
    for byte in data:
        c = _TABLE[(c ^ byte) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


class Client:
    """Stubs over one channel, with a token or without."""

    def __init__(self, channel, token=None):
        if token:
            channel = grpc.intercept_channel(channel, _Bearer(token))
        self.channel = channel
        self.server = server_pb2_grpc.ServerStub(channel)
        self.models = models_pb2_grpc.ModelsStub(channel)
        self.segmentation = segmentation_pb2_grpc.SegmentationStub(channel)
        self.jobs = jobs_pb2_grpc.JobsStub(channel)
        self.datasets = datasets_pb2_grpc.DatasetsStub(channel)
        self.training = training_pb2_grpc.TrainingStub(channel)

    def import_model(self, name="nuclei", data=None):
        data = MODEL.read_bytes() if data is None else data
        return self.models.Import(parts(models.ImportModelRequest, models.ImportModelStart(name=name, total_bytes=len(data)),
                                        data)).model

    def submit(self, image, key="", spec=None, **start):
        data, description = encode(image)
        begin = jobs.SubmitJobStart(idempotency_key=key, image=description, total_bytes=len(data),
                                    segment=spec or default_spec(), **start)
        return self.jobs.Submit(parts(jobs.SubmitJobRequest, begin, data))

    def wait(self, job_id, timeout=120):
        for answer in self.jobs.Watch(jobs.WatchJobRequest(id=job_id), timeout=timeout):
            last = answer.job
        return last

    def segment(self, image, spec=None, **options):
        data, description = encode(image)
        return self.segmentation.Segment(seg.SegmentRequest(spec=spec or default_spec(), image=description, pixels=data),
                                         **options)

    def segment_stream(self, image, spec=None, **options):
        data, description = encode(image)
        start = seg.SegmentStart(spec=spec or default_spec(), image=description, total_bytes=len(data))
        return self.segmentation.SegmentStream(parts(seg.SegmentStreamRequest, start, data), **options)


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor,
              grpc.StreamStreamClientInterceptor):
    def __init__(self, token):
        self.token = token

    def _with(self, details):
        metadata = list(details.metadata or []) + [("authorization", "Bearer " + self.token)]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, go_on, details, request):
        return go_on(self._with(details), request)

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = intercept_unary_unary


def default_spec(**fields):
    fields.setdefault("model", common.ModelRef(name="nuclei"))
    return seg.SegmentSpec(**fields)


SAMPLES = {"uint8": common.SAMPLE_TYPE_UINT8, "uint16": common.SAMPLE_TYPE_UINT16, "float32": common.SAMPLE_TYPE_FLOAT32}


def describe(array, axes=None, pixel_size=0.0):
    axes = axes or {2: "yx", 3: "yxc"}[array.ndim]
    named = [common.Axis(name=n, size=s, pixel_size=pixel_size if n in "yx" else 0, unit="um" if pixel_size else "")
             for n, s in zip(axes, array.shape)]
    return common.ImageDescription(encoding=common.IMAGE_ENCODING_RAW, axes=named, sample_type=SAMPLES[array.dtype.name])


def encode(image):
    """Array, bytes of a file, or (bytes, description) as bytes and description."""
    if isinstance(image, tuple):
        return image
    if isinstance(image, np.ndarray):
        return image.tobytes(), describe(image)
    return bytes(image), common.ImageDescription(encoding=common.IMAGE_ENCODING_FILE)


def parts(kind, start, data, chunk=CHUNK):
    yield kind(start=start)
    for offset in range(0, len(data), chunk):
        piece = data[offset:offset + chunk]
        yield kind(chunk=common.Chunk(offset=offset, crc32c=crc32c(piece), data=piece))
    yield kind(end=common.ChunkEnd(total_bytes=len(data)))


def collect(events):
    """A streamed result: (start, artifacts by output, object rows, progress)."""
    start, data, rows, progress = None, {}, 0, []
    for e in events:
        kind = e.WhichOneof("event")
        if kind == "progress":
            progress.append((e.progress.tiles_done, e.progress.tiles_total))
        elif kind == "start":
            start = e.start
            data = {a.output: bytearray() for a in start.artifacts}
        elif kind == "objects":
            rows += len(e.objects.id)
        elif kind == "chunk":
            output = start.artifacts[e.chunk.artifact].output
            assert e.chunk.offset == len(data[output])
            assert len(e.chunk.data) <= CHUNK
            if e.chunk.offset == 0:
                assert e.chunk.crc32c == crc32c(e.chunk.data)
            data[output] += e.chunk.data
    assert e.WhichOneof("event") == "end"
    assert e.end.total_bytes == sum(map(len, data.values()))
    return start, data, rows, progress


def blobs(height, width, seed=0):
    """A picture with bright discs: something for the model to find."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = random.normal(20, 3, (height, width))
    for _ in range(max(1, height * width // 3000)):
        cy, cx, r = random.integers(height), random.integers(width), random.integers(6, 12)
        top, left = max(0, cy - r), max(0, cx - r)
        part = np.s_[top:cy + r + 1, left:cx + r + 1]
        image[part][(y[part] - cy) ** 2 + (x[part] - cx) ** 2 < r * r] = 160
    return image.clip(0, 255).astype(np.uint8)


def refused(code, call, *words):
    """The call fails with this status; its text holds the words, no path, and there is a request id."""
    with pytest.raises(grpc.RpcError) as caught:
        answer = call()
        if hasattr(answer, "__iter__") and hasattr(answer, "code"):
            list(answer)
    error = caught.value
    assert error.code() == code, (error.code(), error.details())
    for word in words:
        assert word in error.details(), error.details()
    assert "/tmp" not in error.details() and "/var" not in error.details()
    assert any(k == "bioseg-request-id" for k, _ in error.trailing_metadata())
    return error


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("shared") / "data").start()
    yield d
    d.stop()


@pytest.fixture(scope="session")
def client(daemon):
    c = Client(daemon.channel())
    c.import_model()
    return c


@pytest.fixture
def own_daemon(tmp_path):
    """A daemon that the test may treat as it likes; started by the test."""
    d = Daemon(tmp_path / "data", "--drain-seconds", "60")
    yield d
    if d.process and d.process.poll() is None:
        d.kill()
