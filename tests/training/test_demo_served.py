"""The page as a process: how it starts, and that it leaves nothing."""

from __future__ import annotations

import shutil
import signal
import socket
import urllib.request
from pathlib import Path

import PIL.Image
import pytest

import tools.demo as demo
from dico.config_loading import to_plain
from tests.conftest import draw
from tests.training.asked import INFERENCE, small_model, write_promptable
from tests.training.served import PATIENCE_S, TOOL, require_gradio, served
from training.config import TrainConfig
from training.models.recorded import save_recorded

UPLOAD = """--edge\r
Content-Disposition: form-data; name="files"; filename="photo.png"\r
Content-Type: image/png\r
\r
{}\r
--edge--\r
"""


@pytest.fixture(autouse=True)
def gradio() -> None:
    require_gradio()


def upload(address: str, path: Path) -> None:
    """Hands a file to the page as a browser does."""
    body = UPLOAD.encode().replace(b"{}", path.read_bytes())
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}gradio_api/upload", body, headers)) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_photographs_are_gone_when_the_page_is_ended(tmp_path, number):
    folder = tmp_path / "temporary"
    folder.mkdir()
    checkpoint = write_promptable(tmp_path / "model.pth")
    PIL.Image.fromarray(draw()).save(tmp_path / "photo.png")
    with served(folder, checkpoint) as (process, address):
        upload(address, tmp_path / "photo.png")
        assert list(folder.rglob("photo.png")), "or there is nothing to be left"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    assert [path for path in folder.iterdir() if path.name.startswith("demo-")] == []
    assert list(folder.rglob("photo.png")) == []


def test_without_a_checkpoint_the_one_in_weights_is_served(tmp_path):
    for name in ("tools", "weights"):
        (tmp_path / name).mkdir()
    tool = Path(shutil.copy(TOOL, tmp_path / "tools"))
    model = small_model()
    config = TrainConfig(task="promptable", promptable=model.config, inference=INFERENCE)
    save_recorded(model.state_dict(), to_plain(config), tmp_path / "weights" / "promptable_small.safetensors")
    with served(tmp_path, "automatic.min_iou=0.5", tool=tool) as (_, address), urllib.request.urlopen(address) as page:
        served_page = page.read()
    assert b"Segment with a click" in served_page and b"small model that comes with the project" in served_page


def test_without_any_checkpoint_the_command_that_makes_one_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "WEIGHTS", tmp_path)
    assert demo.main(["automatic.min_iou=0.5", "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert "tools/train_net.py --config-file configs/training/promptable_tiny.yaml" in said
    assert "then python tools/demo.py clicks/model_final.pth" in said


def test_a_port_that_is_taken_is_said_before_a_model_is_read(tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert demo.main([str(tmp_path / "absent.pth"), "--port", str(port), "--no-browser"]) == 2
    assert capsys.readouterr().err == f"demo: error: port {port} is taken: choose another --port, or leave it out\n"


def test_a_port_is_a_number_that_ports_have(capsys):
    assert demo.main(["--port", "70000"]) == 2
    assert "from 1 to 65535" in capsys.readouterr().err
