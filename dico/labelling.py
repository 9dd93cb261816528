"""From images to a store of masks in one call: what ``dico label`` does, for use from Python."""

from __future__ import annotations

from pathlib import Path

from dico.config import PipelineConfig
from dico.executors import Executor
from dico.inputs import list_image_names
from dico.job import PipelineJob
from dico.run import RunOptions, run
from dico.run_summary import RunSummary
from dico.store import Manifest, MaskStore
from dico.store.manifest import SHARD_SIZE


def label_images(
    source: str | Path,
    output: str | Path,
    config: PipelineConfig | None = None,
    options: RunOptions | None = None,
    *,
    executor: Executor | None = None,
) -> RunSummary:
    """Labels images into a store, or goes on where an earlier call (or ``dico label``) stopped.

    Args:
        source: A folder, an image, a ``.txt`` list or a pattern; see :func:`dico.inputs.list_images`.
        output: The store: a new folder, or one that is about the same images and configuration.
        config: How to label; None for the defaults.
        options: What to do, and when to give up; None for the defaults.
        executor: Who does the work, such as ``dico.executors.pool.PoolExecutor(4)``; None for this process.

    Returns:
        What was done. The masks are read with ``MaskStore.open(output)``.

    Raises:
        FileNotFoundError: when there is no such source.
        StoreError: when the store is about something else, or is being written.
        ValueError, ImportError: when the configuration cannot work.
    """
    config = config or PipelineConfig()
    options = options or RunOptions()
    job = PipelineJob(config)
    job.check()  # before there is a store
    manifest = manifest_of(source, config, shard_size=shard_size_of(output))
    store = MaskStore.create(output, manifest, retry_failed=options.retry_failed)
    return run(job, store, options, executor=executor)


def manifest_of(source: str | Path, config: PipelineConfig, *, shard_size: int) -> Manifest:
    """What a store of these images, labelled so, is about."""
    return Manifest.of_files(
        list_image_names(source),
        root=Path(source) if Path(source).is_dir() else None,
        config=config.to_dict(),
        config_hash=config.hash(),
        shard_size=shard_size,
    )


def shard_size_of(output: str | Path) -> int:
    """Images a shard of the store in a folder; the usual number where there is none yet."""
    try:
        return MaskStore.open(output).manifest.shard_size
    except FileNotFoundError:
        return SHARD_SIZE
