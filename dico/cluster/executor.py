"""RayExecutor: what the actors of a session are to be, and how many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

try:
    import ray
    from ray import cloudpickle
except ImportError as error:
    raise ImportError("the ray executor needs ray: pip install 'divide-and-conquer[ray]'") from error

from dico.cluster.connection import connection, host_port
from dico.cluster.job_package import JobPackage
from dico.cluster.workers import RayWorkers
from dico.executors.base import check_limits
from dico.executors.pool import DEFAULT_TIMEOUT_S
from dico.executors.supervisor import Supervisor
from dico.job import Job


class RayExecutor:
    """Does the work in actors of a Ray cluster.

    Args:
        address: None or ``"local"`` starts a cluster on this machine, which ends with the session; ``"auto"`` or
            ``"HOST:PORT"`` joins one that runs, and this machine must be part of it. A process that is connected to Ray
            already stays so, and is used when the address says nothing else.
        num_workers: Actors that label, each on a CPU of the cluster; None for as many as it has. Those that find no
            free CPU wait for one while the others work, and make a cluster that can grow.
        timeout_s: A task that takes longer has failed, and its actor is killed; 0 or None waits for ever.
        gpus_per_actor: Of each actor that extracts features, for a job that shares them: 0.5 has two on a GPU; 0 has
            one on no GPU, on the device that the job names.

    Raises:
        ValueError: when a value is out of range, or the address is none.
    """

    def __init__(
        self,
        address: str | None = None,
        num_workers: int | None = None,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        gpus_per_actor: float = 1.0,
    ) -> None:
        check_limits(num_workers, timeout_s)
        if gpus_per_actor < 0 or (gpus_per_actor > 1 and gpus_per_actor % 1):
            raise ValueError(f"gpus_per_actor must be a share of a GPU or a whole number, got {gpus_per_actor}")
        self.address = None if address == "local" else address
        if self.address not in (None, "auto"):
            host_port(self.address)
        self.num_workers = num_workers
        self.timeout_s = timeout_s or None
        self.gpus_per_actor = gpus_per_actor

    def __str__(self) -> str:
        where = "on this machine" if self.address is None else f"of the cluster at {self.address}"
        if ray.is_initialized():
            nodes = sum(node["Alive"] for node in ray.nodes())
            where = f"on {nodes} node{'s' * (nodes != 1)}"
        return f"{self.num_workers or ''} Ray actors {where}".lstrip()

    @contextmanager
    def session(self, job: Job) -> Iterator[Supervisor]:
        """Actors that do a job's work; they start when there are tasks.

        Args:
            job: Picklable; functions of the main script may be part of it.

        Raises:
            ConnectionError: when the cluster cannot be joined; says what to do.
            TypeError: when the job cannot be pickled.
            ValueError: when the job shares an extractor and there is no GPU, or this process is in another cluster.
        """
        package = JobPackage.of(job, cloudpickle.dumps)
        with connection(self.address, self.num_workers):
            num_workers = self.num_workers or max(1, int(ray.cluster_resources().get("CPU", 0)))
            gpus = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
            extractors = num_extractors(gpus, self.gpus_per_actor) if job.shares_extractor else None
            with RayWorkers(package, extractors, gpus=self.gpus_per_actor) as workers:
                yield Supervisor(workers, num_workers, timeout_s=self.timeout_s)


def num_extractors(gpus_by_node: Sequence[int], gpus_per_actor: float) -> int:
    """How many actors that extract features a cluster has room for.

    Args:
        gpus_by_node: How many GPUs each node has.
        gpus_per_actor: A share of one GPU, or several; 0 asks for one actor without any.

    Raises:
        ValueError: when there is no room for any.

    Example:
        >>> num_extractors([2, 0, 1], 0.5)
        6
    """
    if not gpus_per_actor:
        return 1
    per_gpu = int(1 / gpus_per_actor)  # 0 when an actor needs several
    number = sum(gpus * per_gpu if per_gpu else int(gpus // gpus_per_actor) for gpus in gpus_by_node)
    if not number:
        raise ValueError(
            f"features are to be extracted on GPUs, {gpus_per_actor:g} an actor, and the Ray cluster has"
            f" {sum(gpus_by_node)}: take extractor.device=cpu, or start Ray where there are GPUs"
        )
    return number
