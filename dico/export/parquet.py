"""Parquet: a table with one row a mask, for pandas, DuckDB, Spark and Hugging Face datasets. Needs pyarrow.

Images without masks have no row. ``counts`` is the compressed COCO run-length code of ``height`` x ``width`` pixels;
``parent`` is the ``mask_id`` of the parent, null for a root; ``bbox`` is x, y, width, height in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dico.atomic import atomic_file
from dico.export.base import LabelledImage
from dico.store import Manifest

ROWS_PER_GROUP = 20_000
"""About 10 MB of run-length codes: what is in memory at a time."""


def write_parquet(images: Iterable[LabelledImage], manifest: Manifest, output: Path) -> tuple[str, ...]:
    """Writes one parquet file, a row group at a time.

    Raises:
        ImportError: when pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("the parquet format needs pyarrow: pip install 'divide-and-conquer[parquet]'") from error
    schema = pa.schema(
        [
            ("image_id", pa.int64()),
            ("file_name", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("mask_id", pa.int64()),
            ("area", pa.int64()),
            ("bbox", pa.list_(pa.float32(), 4)),
            ("score", pa.float32()),
            ("level", pa.int32()),
            ("theta", pa.float32()),
            ("parent", pa.int64()),
            ("source", pa.string()),
            ("counts", pa.string()),
        ],
        metadata={"dico.config_hash": manifest.config_hash},
    )
    with atomic_file(output) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        waiting: list[dict[str, Any]] = []
        for image in images:
            waiting += _rows(image)
            if len(waiting) >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema))
    return ()


def _rows(image: LabelledImage) -> list[dict[str, Any]]:
    height, width = image.masks.size_hw
    of_image = {"image_id": image.image_id, "file_name": image.path, "height": height, "width": width}
    return [
        {
            **of_image,
            **{name: one[name] for name in ("area", "bbox", "score", "level", "theta", "source")},
            "mask_id": one["id"],
            "parent": one["parent"] or None,
            "counts": one["segmentation"]["counts"],
        }
        for one in image.masks.to_coco(first_id=image.first_mask_id)
    ]
