"""A biosegd of its own on a folder, and the command line program as a user calls it. Standard library only."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BS_BUILD", ROOT / "build")) / "bin"


class Refused(RuntimeError):
    """The program ended with another code than 0; its own words."""


def told(text):
    losses, validations = [], []
    for line in text.splitlines():
        if not line.startswith('{"step"'):
            continue
        event = json.loads(line)
        values = event["values"]
        if "validation_loss" in values:
            validations.append((event["step"], values["validation_loss"]))
        else:
            losses.append((event["step"], values["train_loss"]))
    return losses, validations


class Daemon:
    """with Daemon() as d: d.bioseg("info"). Its data goes away with it unless a folder is given."""

    def __init__(self, data=None, threads=None):
        self.own = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="bioseg-parity-"))
        self.threads = threads
        self.process = None

    def __enter__(self):
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [str(BIN / "biosegd"), "--data", str(self.data), "--listen", "none", "--device", "cpu"]
        if self.threads:
            command += ["--threads", str(self.threads)]
        with open(self.data / "daemon.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(300):
            try:
                self.bioseg("info")
                return self
            except Refused:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"biosegd does not answer; its log is {self.data}/daemon.log")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        if self.own:
            shutil.rmtree(self.data, ignore_errors=True)

    def command(self, *arguments):
        return [str(BIN / "bioseg"), "--server", f"unix:{self.data}/biosegd.sock", *map(str, arguments)]

    def bioseg(self, *arguments):
        """Standard output of the program."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True)
        if done.returncode != 0:
            raise Refused(f"bioseg {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.bioseg("--json", *arguments))

    def dataset(self, name, folders):
        """folders: split -> folder with images/ and labels/, or a list of names in it. Pairs that are there are not sent again."""
        self.bioseg("datasets", "create", name)
        for split, folder in folders.items():
            self.bioseg("datasets", "add", name, "--images", folder / "images", "--labels", folder / "labels", "--split", split)

    def train(self, *arguments):
        """Makes a run and waits for its end: what `metrics` gives, seconds, and seconds of processor time."""
        began, used = time.monotonic(), self.processor_seconds()
        text = self.bioseg("--json", "train", *arguments, "--watch")
        losses, validations = told(text)
        return losses, validations, time.monotonic() - began, self.processor_seconds() - used

    def metrics(self, job):
        """Losses [(step, loss)] and validations [(step, loss)] of a run."""
        return told(self.bioseg("--json", "jobs", "metrics", job))

    def processor_seconds(self):
        """Of the daemon and what it started, so far."""
        total, ticks = 0, os.sysconf("SC_CLK_TCK")
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if self.process.pid in (int(stat.parent.name), int(words[1])):
                total += int(words[11]) + int(words[12])
        return total / ticks

    def score(self, model, folder, *options):
        """Segments every image of folder/images, with these options of `bioseg segment`: {"images": rows, "summary": means}, both with msa, sa50 and sa75."""
        with tempfile.TemporaryDirectory(prefix="bioseg-parity-") as out:
            self.bioseg("-q", "segment", "-m", model, *options, "-o", out, folder / "images")
            return json.loads(self.bioseg("--json", "evaluate", out, folder / "labels"))
