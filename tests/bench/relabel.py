"""Other thresholds: a run of the network against labels from kept maps, in turn, on one daemon.

    tests/e2e/run.sh --python tests/bench/relabel.py [--side 1024] [--rounds 7]

Prints the median of each, as the client waits for it, and what the server says of the parts. "kept" is a run that also keeps its maps, of an image
that no round before has had.
"""
import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import segmentation_pb2 as seg
from conftest import Client, blobs, default_spec, describe
from daemon import Daemon


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--side", type=int, default=1024)
    p.add_argument("--rounds", type=int, default=7)
    options = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="bioseg-relabel-") as folder:
        daemon = Daemon(pathlib.Path(folder) / "data").start()
        try:
            measure(Client(daemon.channel()), options.side, options.rounds)
        finally:
            daemon.stop()


def measure(client, side, rounds):
    client.import_model()
    image = blobs(side, side)
    described = describe(image)
    times = {"run": [], "kept": [], "relabel": []}
    parts = {name: [] for name in times}

    def call(name, **request):
        began = time.monotonic()
        answer = client.segmentation.Segment(seg.SegmentRequest(**request))
        times[name].append(time.monotonic() - began)
        p = answer.result.provenance
        parts[name].append((p.network_seconds, p.postprocessing_seconds))
        return answer

    client.segment(image)  # compiles
    for n in range(rounds):
        spec = default_spec(parameters={"foreground_threshold": common.ParameterValue(number=0.4 + 0.02 * n)})
        fresh = call("run", spec=spec, image=described, pixels=image.tobytes())
        other = image.copy()
        other[0, 0] = n  # the server has not seen it
        call("kept", spec=spec, image=described, pixels=other.tobytes(), keep_maps=True)
        kept = client.segmentation.Segment(seg.SegmentRequest(spec=default_spec(), image=described, pixels=image.tobytes(), keep_maps=True))
        again = call("relabel", spec=spec, kept_maps_id=kept.result.kept_maps.id)
        assert again.labels == fresh.labels and again.result.provenance.kept_maps
    for name, found in times.items():
        network, after = (1000 * statistics.median(p[i] for p in parts[name]) for i in range(2))
        print(f"{name:8} {1000 * statistics.median(found):7.1f} ms   network {network:7.1f}, post-processing {after:6.1f}")
    ratios = [a / b for a, b in zip(times["run"], times["relabel"])]
    print(f"{side} x {side}: labels from kept maps are {statistics.median(ratios):.1f} times as fast (median within a round)")


main()
