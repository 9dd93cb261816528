"""MaskStore: the masks of many images on disk; written once, atomically, and checked when asked.

A store is a folder::

    manifest.jsonl                  what is labelled, and how: fixed when the store is made
    shards/000003.jsonl.zst         the rows of images 768 to 1023, in order
    shards/000003.meta.json         their count, size and SHA-256: the shard is complete
    shards/000004.journal           the rows of a shard that is being filled, as they came
    failures.jsonl                  why images failed
    locks/                          who is writing which shards
    logs/<time>-<host>-<pid>.log    what happened in a run
    merging                         a merge is writing the store: until it is done, no run may go on with it
"""

from dico.store.entries import ImageEntry
from dico.store.errors import StoreError
from dico.store.manifest import Manifest
from dico.store.mask_store import MaskStore, StoreStatus
from dico.store.merge import MergeReport, merge_stores
from dico.store.rows import Failure, LabelRow, encode_row
from dico.store.writer import StoreWriter

__all__ = [
    "Failure",
    "ImageEntry",
    "LabelRow",
    "Manifest",
    "MaskStore",
    "MergeReport",
    "StoreError",
    "StoreStatus",
    "StoreWriter",
    "encode_row",
    "merge_stores",
]
