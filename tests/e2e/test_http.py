"""The HTTP port: what a monitor and a load balancer see of a daemon that works, whose worker dies, and that ends."""
import http.client
import os
import re
import signal
import time

import grpc
import pytest

from conftest import Client, Daemon, blobs

SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (\S+)$')


class Port:
    def __init__(self, daemon):
        self.host, self.port = re.search(r"http://([\d.]+):(\d+)", daemon.ready_line).groups()

    def get(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def figures(self):
        """Checked as Prometheus reads them: every sample belongs to the family named before it, each family comes once."""
        status, text = self.get("/metrics")
        assert status == 200
        family, families, figures = None, set(), {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                family = line.split()[2]
                assert family not in families
                families.add(family)
            elif not line.startswith("#"):
                name, labels, value = SAMPLE.match(line).groups()
                assert name == family and name + (labels or "") not in figures
                figures[name + (labels or "")] = float(value)
        return figures


@pytest.fixture
def watched(tmp_path):
    daemon = Daemon(tmp_path / "data", "--http", "127.0.0.1:0", listen="none").start()
    yield daemon, Port(daemon)
    daemon.stop()


def test_figures_follow_the_work(watched):
    daemon, port = watched
    client = Client(daemon.channel())
    assert port.get("/healthz") == (200, "alive\n")
    assert port.get("/readyz") == (200, "ready\n")
    client.import_model()
    before = port.figures()
    client.segment(blobs(64, 64))
    job = client.submit(blobs(64, 64))
    assert client.wait(job.job.id).object_count > 0
    with pytest.raises(grpc.RpcError):
        client.segment(b"no image")
    after = port.figures()
    assert after['bioseg_segment_requests_total{outcome="succeeded"}'] == 2
    assert after['bioseg_segment_requests_total{outcome="failed"}'] == 1
    assert after["nv_inference_request_success"] == 2
    assert after['bioseg_jobs{state="succeeded"}'] == 1
    assert after["bioseg_models_loaded"] == 1 and after["bioseg_models_loaded_bytes"] > 0
    assert after["bioseg_blob_bytes"] > before["bioseg_blob_bytes"] > 0


def test_a_dead_worker_is_counted_and_readiness_comes_back(watched):
    daemon, port = watched
    assert port.figures()["bioseg_worker_restarts_total"] == 0
    for pid in daemon.worker_pids():
        os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        if port.figures()["bioseg_worker_restarts_total"] == 1 and port.get("/readyz")[0] == 200:
            return
        time.sleep(0.1)
    pytest.fail("not ready again after 10 s")


def test_readiness_goes_before_the_daemon_does(watched):
    daemon, port = watched
    daemon.process.send_signal(signal.SIGTERM)
    seen = None
    for _ in range(50):
        try:
            seen = port.get("/readyz")
        except OSError:
            break
        if seen[0] == 503:
            break
        time.sleep(0.005)
    assert seen[0] == 503 and "ending" in seen[1]
    assert daemon.process.wait(30) == 0


def test_other_sites_get_nothing(watched):
    _, port = watched
    assert port.get("/metrics", Host="evil.example")[0] == 421
    assert port.get("/metrics", Host=f"evil.example:{port.port}")[0] == 421
    assert port.get("/metrics", Origin="http://evil.example")[0] == 403
    assert port.get("/metrics", method="POST")[0] == 405
    assert port.get("/metrics", Host=f"localhost:{port.port}")[0] == 200


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"])
def test_an_address_that_others_reach_is_refused(tmp_path, address):
    with pytest.raises(RuntimeError, match="can be reached from other machines"):
        Daemon(tmp_path / "data", "--http", address, listen="none").start()
