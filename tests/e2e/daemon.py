"""A biosegd of its own for a test or a measurement: started, asked for its address, stopped, killed."""
import os
import pathlib
import re
import select
import signal
import subprocess

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ["BS_BUILD"]) / "bin"
MODEL = ROOT / "deploy" / "models" / "unet-nuclei.safetensors"
SAMPLE = ROOT / "deploy" / "samples" / "nuclei.png"


class Daemon:
    def __init__(self, data, *options, listen="127.0.0.1:0", device="cpu"):
        self.data = pathlib.Path(data)
        self.arguments = [str(BIN / "biosegd"), "--data", str(data), "--listen", listen, "--device", device,
                          "--disk-reserve", "1M", *options]
        self.process = None
        self.log = self.data.parent / (self.data.name + ".log")

    def start(self, timeout=30):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=log)
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        self.ready_line = self.process.stdout.readline().decode() if ready else ""
        if "ready" not in self.ready_line:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("biosegd did not start: " + self.log.read_text()[-2000:])
        found = re.search(r"ready: unix:\S+ (?:tls://)?([\d.]+:\d+)", self.ready_line)
        self.tcp = found.group(1) if found else None
        return self

    @property
    def token(self):
        return (self.data / "token").read_text().strip()

    def address(self, transport="unix"):
        return f"unix:{self.data}/biosegd.sock" if transport == "unix" else self.tcp

    def channel(self, transport="unix"):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(self.address(transport), options)

    def worker_pids(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = {int(p) for c in children for p in c.read_text().split()}
        return [p for p in pids if "biosegd-worker" in pathlib.Path(f"/proc/{p}/cmdline").read_text()]

    def terminate(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.terminate()
