"""What the daemon adds to the network: cold start, first labels, and the round trip of a request without its engine time.

Run by tests/bench/run.sh (or tests/e2e/run.sh --python tests/bench/requests.py): a daemon of its own on a Unix socket, the nuclei
model, one client. Prints one table; the targets are those of docs/performance.md.
"""
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np

from conftest import BIN, SAMPLE, Client, Daemon

ROUNDS = {64: 200, 512: 40, 1024: 30}


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


def overhead(client, side):
    """Milliseconds of each round trip that neither the network nor the post-processing took."""
    image = np.random.default_rng(7).integers(0, 256, (side, side), dtype=np.uint8)
    client.segment(image)  # compiles for this shape
    rest = []
    for _ in range(ROUNDS[side]):
        began = time.perf_counter()
        answer = client.segment(image)
        took = time.perf_counter() - began
        provenance = answer.result.provenance
        rest.append(1e3 * (took - provenance.network_seconds - provenance.postprocessing_seconds))
    return rest


def main():
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(pathlib.Path(folder) / "data", listen="none")
        began = time.perf_counter()
        daemon.start()
        ready = time.perf_counter() - began
        try:
            client = Client(daemon.channel())
            client.import_model()
            command = [str(BIN / "bioseg"), "--server", f"unix:{daemon.data}/biosegd.sock", "segment", "-q", "-m", "nuclei", "-o",
                       folder + "/out", "--overwrite", str(SAMPLE)]
            first = []
            for _ in range(5):
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                first.append(time.perf_counter() - began)
            print(f"daemon, start to ready                         {ready * 1e3:8.1f} ms")
            print(f"command line, first labels of the sample       {first[0] * 1e3:8.1f} ms (model loaded, compiled)")
            print(f"command line, labels of the sample afterwards  {min(first[1:]) * 1e3:8.1f} ms")
            for side in ROUNDS:
                rest = overhead(client, side)
                print(f"round trip minus engine time, {side:4d} x {side:<4d} uint8 median {statistics.median(rest):6.2f} ms, "
                      f"p95 {percentile(rest, 95):6.2f} ms")
        finally:
            daemon.stop()


main()
