"""Workers of Ray Train that die, raise and are stopped: training ends as it would have without."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.training.annotated import write_annotated
from tests.training.engine_runs import final_weights, losses_of, train, train_config
from tests.training.ray_runs import die, fail, train_and_die, wait_for_ever
from tests.training.test_train_net import TINY, losses

WANTED = "needs Ray Train: pip install 'divide-and-conquer[ray-train]'"
ray = pytest.importorskip("ray", reason=WANTED)
pytest.importorskip("ray.train", reason=WANTED, exc_type=ImportError)

from ray.cluster_utils import Cluster  # noqa: E402

from training.engine.launch import Group, launch  # noqa: E402
from training.engine.ray_train import train_on_ray  # noqa: E402
from training.engine.worker import WorkerError  # noqa: E402

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two CPUs, to which this process is connected as a user's might be."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=started.address, log_to_driver=False, logging_level="ERROR")
    yield started.address
    ray.shutdown()
    started.shutdown()


@pytest.mark.slow
def test_killed_workers_are_replaced_and_training_ends_as_with_another_engine(cluster, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    whole, parts = train_config(Path("whole")), train_config(Path("parts"))  # relative, as users write them
    assert launch(partial(train, whole), Group(2)) == 0
    told = []
    with caplog.at_level(logging.WARNING):
        die = partial(train_and_die, parts)
        train_on_ray(die, num_workers=2, folder=Path("parts"), address=cluster, tell=told.append)
    assert [step for step, *_ in losses_of(whole)] == [1, 2, 3, 4, 5, 6]
    assert losses_of(parts) == losses_of(whole)
    left, right = final_weights(parts), final_weights(whole)
    assert all(torch.equal(left[name], right[name]) for name in right)
    assert [line["step"] for line in told] == [1, 2, 3, 4, 5, 6]
    (death,) = caplog.messages
    assert death.startswith("attempt 1 of 4 ended: worker 1 was killed: by a crash")


@pytest.mark.slow
def test_the_command_line_starts_a_cluster_and_ends_it(tmp_path):
    """In a process of its own, as this one is connected."""
    annotations = write_annotated(tmp_path / "drawn")
    command = [sys.executable, str(REPOSITORY / "tools" / "train_net.py"), *TINY, f"data.train=[{annotations}]"]
    for engine in ("torch", "ray"):
        asked = [*command, "optim.steps=20", f"engine={engine}", f"output={tmp_path / engine}"]
        ended = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True)
        assert ended.returncode == 0 and ended.stdout == "", ended.stderr
        assert "step 20 of 20: loss" in ended.stderr
    assert losses(tmp_path / "torch") == losses(tmp_path / "ray")
    assert len(losses(tmp_path / "ray")) == 20


@pytest.mark.slow
def test_what_would_come_back_is_raised_at_once(cluster, tmp_path):
    with pytest.raises(FloatingPointError, match="no number in attempt 0"):
        train_on_ray(fail, num_workers=2, folder=tmp_path, address=cluster)


@pytest.mark.slow
def test_deaths_are_counted(cluster, tmp_path):
    with pytest.raises(WorkerError, match=r"died 2 times: (a worker|worker 0) was killed: .* --resume goes on"):
        train_on_ray(die, num_workers=1, folder=tmp_path, address=cluster, restarts=1)


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_is_ours_again(cluster, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    begun = tmp_path / "begun"

    def press() -> None:
        while not begun.exists():
            pressed.wait(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    pressed = threading.Event()
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        train_on_ray(partial(wait_for_ever, begun), num_workers=1, folder=tmp_path, address=cluster)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("options", [{"num_workers": 0}, {"num_workers": 1, "restarts": -1}])
def test_numbers_are_checked(tmp_path, options):
    with pytest.raises(ValueError, match="num_workers must be at least 1 and restarts at least 0"):
        train_on_ray(die, folder=tmp_path, **options)
