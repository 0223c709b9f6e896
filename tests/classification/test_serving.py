"""The guide of serving: its server, as it stands there, in processes of its own, called over HTTP with real images."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo_core.cli import main

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "shared" / "zoo-core" / "docs" / "serving.md"
PICTURES = ROOT / "packages" / "zoo-classification" / "src" / "zoo_classification" / "samples"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Of a server of the guide, which runs meanwhile."""
    folder = tmp_path_factory.mktemp("serving")
    (script,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (folder / "serve.py").write_text(script)
    (export,) = re.findall(r"^zoo (export .*) --output fashion.onnx$", GUIDE.read_text(), re.MULTILINE)
    assert main([*export.split(), "--output", str(folder / "fashion.onnx")]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "serve.py", "--address", "127.0.0.1", "--port", str(port)],
        cwd=folder,
        env={**os.environ, "MODEL": "fashion.onnx", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
    )
    try:
        for _ in range(1200):
            if server.poll() is not None:
                pytest.fail((folder / "log").read_text())
            try:
                if post(port, (PICTURES / "bag.png").read_bytes())[0] in (200, 500):
                    break
            except OSError:  # nobody listens yet
                pass
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        yield port
    finally:
        server.terminate()
        server.wait(60)


def request(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def post(port, body):
    return request(port, "POST", "/inference", body)


def test_pictures_one_by_one_and_all_at_once(port, capsys):
    """Answers are what `zoo predict` says of the same files, each that of its own picture."""
    files = sorted(PICTURES.glob("*.png"))
    assert main(["predict", "shufflenet_v2_x0_5", "--weights", "FASHIONMNIST_V1", *map(str, files), "--json"]) == 0
    expected = {Path(record["file"]).name: record for record in json.loads(capsys.readouterr().out)["results"]}
    status, answer = post(port, files[1].read_bytes())
    assert status == 200
    assert json.loads(answer)["labels"][0]["label"] == expected[files[1].name]["labels"][0]["label"]
    with ThreadPoolExecutor(len(files)) as pool:
        answers = list(pool.map(lambda file: post(port, file.read_bytes()), files))
    for file, (status, answer) in zip(files, answers, strict=True):
        assert status == 200
        for found, wanted in zip(json.loads(answer)["labels"], expected[file.name]["labels"], strict=True):
            assert (found["index"], found["label"]) == (wanted["index"], wanted["label"])
            assert found["score"] == pytest.approx(wanted["score"], abs=1e-4)
    assert b"count" in request(port, "GET", "/metrics")[1]


def test_what_is_no_image_is_refused_and_the_server_goes_on(port):
    status, answer = post(port, b"no image")
    assert status == 400
    assert b"not an image" in answer
    assert post(port, (PICTURES / "coat.png").read_bytes())[0] == 200
