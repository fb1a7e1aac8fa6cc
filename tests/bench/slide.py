"""A slide of 20,000 x 20,000 pixels through daemon and command line: time, objects, and the memory all of it takes.

tests/e2e/run.sh --python tests/bench/slide.py [SIDE]. The slide is the sample of deploy/samples, shrunk to 3/4 and repeated with
mirror images: about 200,000 nuclei. Memory is the proportional set size (a page that processes share counts once) of daemon and
worker, sampled ten times a second, beyond what both hold idle; the command line is listed apart, since it may run elsewhere,
and with them.
"""
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from conftest import BIN, SAMPLE, Client, Daemon


def slide(side):
    sample = Image.open(SAMPLE)
    small = np.asarray(sample.resize((sample.width * 3 // 4, sample.height * 3 // 4), Image.BILINEAR))
    cell = np.block([[small, small[:, ::-1]], [small[::-1], small[::-1, ::-1]]])
    rows, columns = -(-side // cell.shape[0]), -(-side // cell.shape[1])
    return np.tile(cell, (rows, columns))[:side, :side]


def pss(pid):
    try:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024**2
    except OSError:
        pass
    return 0.0


def descendants(pid):
    found = [pid]
    for p in found:
        for task in pathlib.Path(f"/proc/{p}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                pass
    return found


def main():
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    with tempfile.TemporaryDirectory() as folder:
        image = pathlib.Path(folder) / "slide.png"
        Image.MAX_IMAGE_PIXELS = None
        Image.fromarray(slide(side)).save(image, compress_level=1)
        daemon = Daemon(pathlib.Path(folder) / "data", listen="none")
        daemon.start()
        try:
            client = Client(daemon.channel())
            client.import_model()
            pid = daemon.process.pid
            idle = sum(map(pss, descendants(pid)))
            command = subprocess.Popen(
                [str(BIN / "bioseg"), "--server", f"unix:{daemon.data}/biosegd.sock", "segment", "-q", "-m", "nuclei", "-o",
                 folder + "/out", "--table", "--overwrite", str(image)], stdout=subprocess.PIPE, text=True)
            began = time.perf_counter()
            peak, peak_client, peak_all = 0.0, 0.0, 0.0
            while command.poll() is None:
                server, client_now = sum(map(pss, descendants(pid))), pss(command.pid)
                peak, peak_client = max(peak, server), max(peak_client, client_now)
                peak_all = max(peak_all, server + client_now)
                time.sleep(0.1)
            took = time.perf_counter() - began
            out = command.stdout.read()
            objects = sum(1 for _ in open(f"{folder}/out/slide.csv")) - 1 if command.returncode == 0 else 0
            print(f"{side} x {side}: exit {command.returncode}, {objects} objects, {took:.0f} s")
            print(f"daemon and worker: idle {idle:.3f} GiB, peak {peak:.3f} GiB, {peak - idle:.3f} GiB above idle; "
                  f"command line {peak_client:.3f} GiB; all three at once {peak_all - idle:.3f} GiB above idle")
            print(out.strip())
        finally:
            daemon.stop()


if __name__ == "__main__":
    main()
