"""MaskSet: the masks of one image, as run-length codes with their scores and hierarchy.

Axes: N masks of the set, M masks of another set, H W pixels of the image. Boxes are half-open xyxy in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dico import mask_codes
from dico.mask_codes import decode_mask, encode_mask

if TYPE_CHECKING:
    import supervision

NO_PARENT = -1


def _frozen(values: Any, dtype: Any) -> NDArray[Any]:
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The masks of one image; immutable, compact, ordered.

    Build one with :meth:`from_arrays`, :meth:`from_rles` or :meth:`empty`. Indexing with a slice, a list or a boolean
    array gives a smaller MaskSet whose parents are re-linked to the nearest ancestor that was kept.

    Attributes:
        size_hw: Height and width of the image in pixels, both at least 1.
        rles: N compressed COCO run-length codes (the ``counts`` bytes), each of an image of ``size_hw``.
        score: float32 (N,), finite; larger is more likely an object. Comparable between images of one configuration.
        level: int32 (N,), at least 0; 0 is the whole object, larger is finer.
        theta: float32 (N,) in [0, 1]: granularity, 0 is coarsest; :mod:`dico.conquer` says what each way of merging
            makes of it.
        parent: int32 (N,), index of the smallest enclosing mask of this set, or -1. The links form a forest.
        source: N names of the stage that made the mask, such as ``"divide"`` or ``"conquer"``.

    Raises:
        ValueError: when lengths differ, a value is outside its range, or the parents form a cycle.

    Example:
        >>> whole, part = np.zeros((2, 4, 6), dtype=bool)
        >>> whole[1:3, 1:5] = True
        >>> part[1:3, 1:3] = True
        >>> masks = MaskSet.from_arrays(np.stack([whole, part]), parent=[-1, 0], theta=[0.1, 0.6])
        >>> masks.area_px.tolist(), masks.children(0).tolist()
        ([8, 4], [1])
    """

    size_hw: tuple[int, int]
    rles: tuple[bytes, ...]
    score: NDArray[np.float32]
    level: NDArray[np.int32]
    theta: NDArray[np.float32]
    parent: NDArray[np.int32]
    source: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.size_hw) != 2 or min(self.size_hw) < 1:
            raise ValueError(f"size_hw must be two positive integers, got {self.size_hw}")
        object.__setattr__(self, "size_hw", (int(self.size_hw[0]), int(self.size_hw[1])))
        object.__setattr__(self, "rles", tuple(self.rles))
        object.__setattr__(self, "source", tuple(self.source))
        for name, dtype in (("score", np.float32), ("level", np.int32), ("theta", np.float32), ("parent", np.int32)):
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        n = len(self.rles)
        for name in ("score", "level", "theta", "parent", "source"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} must have one entry per mask ({n}), got {len(getattr(self, name))}")
        if not np.isfinite(self.score).all():
            raise ValueError("score must be finite, got NaN or infinity")
        if n and (self.level.min() < 0 or not (0 <= self.theta.min() <= self.theta.max() <= 1)):
            raise ValueError("level must be at least 0 and theta within [0, 1]")
        if n and (self.parent.min() < NO_PARENT or self.parent.max() >= n):
            raise ValueError(f"parent must be -1 or an index below {n}, got {self.parent.min()}..{self.parent.max()}")
        for generation, ancestor in enumerate(self._ancestors()):
            if generation == n:
                raise ValueError(f"parent must form a forest, got a cycle through mask {int(np.argmax(ancestor >= 0))}")

    # ---------------------------------------------------------------- making one

    @classmethod
    def from_rles(
        cls,
        size_hw: tuple[int, int],
        rles: Iterable[bytes],
        *,
        score: Sequence[float] | NDArray[Any] | None = None,
        level: Sequence[int] | NDArray[Any] | None = None,
        theta: Sequence[float] | NDArray[Any] | None = None,
        parent: Sequence[int] | NDArray[Any] | None = None,
        source: str | Sequence[str] = "",
    ) -> MaskSet:
        """A MaskSet of run-length codes; what is not given is 1 (score), 0 (level, theta) or -1 (parent).

        Args:
            size_hw: Image height and width in pixels.
            rles: Compressed COCO ``counts``, bytes, N of them.
            score: (N,) finite numbers.
            level: (N,) integers from 0.
            theta: (N,) numbers in [0, 1].
            parent: (N,) indices or -1.
            source: One name for all masks, or N names.

        Returns:
            A MaskSet of N masks.

        Raises:
            ValueError: as the class does.
        """
        codes = tuple(rles)
        n = len(codes)
        return cls(
            size_hw=size_hw,
            rles=codes,
            score=np.ones(n, np.float32) if score is None else np.asarray(score, np.float32),
            level=np.zeros(n, np.int32) if level is None else np.asarray(level, np.int32),
            theta=np.zeros(n, np.float32) if theta is None else np.asarray(theta, np.float32),
            parent=np.full(n, NO_PARENT, np.int32) if parent is None else np.asarray(parent, np.int32),
            source=(source,) * n if isinstance(source, str) else tuple(source),
        )

    @classmethod
    def from_arrays(cls, masks_NHW: NDArray[Any], **fields: Any) -> MaskSet:
        """A MaskSet of dense masks.

        Args:
            masks_NHW: bool or 0/1 (N, H, W); N may be 0, H and W may not.
            **fields: As for :meth:`from_rles`.

        Returns:
            A MaskSet of N masks in the order given.

        Raises:
            ValueError: when the array does not have three axes, or as the class does.
        """
        masks_NHW = np.asarray(masks_NHW)
        if masks_NHW.ndim != 3:
            raise ValueError(f"masks_NHW must have three axes (N, H, W), got shape {masks_NHW.shape}")
        size_hw = (masks_NHW.shape[1], masks_NHW.shape[2])
        return cls.from_rles(size_hw, [encode_mask(mask_HW) for mask_HW in masks_NHW], **fields)

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> MaskSet:
        """A MaskSet of no masks for an image of ``size_hw`` pixels."""
        return cls.from_rles(size_hw, ())

    @classmethod
    def concat(cls, parts: Sequence[MaskSet]) -> MaskSet:
        """The masks of several sets of one image, in order; parents stay within their own part.

        Args:
            parts: At least one MaskSet, all of one ``size_hw``.

        Returns:
            A MaskSet of all masks.

        Raises:
            ValueError: when ``parts`` is empty or the sizes differ.
        """
        if not parts or len({part.size_hw for part in parts}) != 1:
            raise ValueError(f"parts must be MaskSets of one image size, got sizes {[p.size_hw for p in parts]}")
        offsets = np.cumsum([0] + [len(part) for part in parts[:-1]])
        parents = [np.where(p.parent < 0, NO_PARENT, p.parent + at) for p, at in zip(parts, offsets, strict=True)]
        return cls(
            size_hw=parts[0].size_hw,
            rles=tuple(rle for part in parts for rle in part.rles),
            score=np.concatenate([part.score for part in parts]),
            level=np.concatenate([part.level for part in parts]),
            theta=np.concatenate([part.theta for part in parts]),
            parent=np.concatenate(parents),
            source=tuple(name for part in parts for name in part.source),
        )

    # ---------------------------------------------------------------- reading it

    def __len__(self) -> int:
        return len(self.rles)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskSet):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"MaskSet({len(self)} masks, {self.size_hw[0]}x{self.size_hw[1]} px, levels {self.levels.tolist()})"

    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> MaskSet:
        chosen = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(chosen, np.ndarray) and not chosen.size:
            chosen = chosen.astype(np.int64)  # NumPy makes an empty list an array of floats
        keep = np.arange(len(self))[chosen]
        if keep.ndim != 1:
            raise TypeError("index must be a slice, a list of integers or a boolean array; for one mask use [[i]]")
        new_index = np.full(len(self) + 1, NO_PARENT, dtype=np.int64)  # the last entry stands for "no parent"
        new_index[keep] = np.arange(len(keep))
        parent = self.parent[keep]
        while True:
            lost = (parent != NO_PARENT) & (new_index[parent] == NO_PARENT)
            if not lost.any():
                break
            parent = np.where(lost, self.parent[parent], parent)
        return MaskSet(
            size_hw=self.size_hw,
            rles=tuple(self.rles[i] for i in keep),
            score=self.score[keep],
            level=self.level[keep],
            theta=self.theta[keep],
            parent=new_index[parent].astype(np.int32),
            source=tuple(self.source[i] for i in keep),
        )

    @property
    def levels(self) -> NDArray[np.int32]:
        """int32 (L,): the levels that occur, sorted, coarsest first."""
        return np.unique(self.level)

    @property
    def area_px(self) -> NDArray[np.int64]:
        """int64 (N,): the number of pixels of each mask."""
        return mask_codes.areas_px(self.size_hw, self.rles)

    @property
    def boxes_xyxy(self) -> NDArray[np.float32]:
        """float32 (N, 4): half-open bounding boxes x0, y0, x1, y1 in pixels; zeros for an empty mask."""
        return mask_codes.boxes_xyxy(self.size_hw, self.rles)

    def iou(self, other: MaskSet | None = None) -> NDArray[np.float64]:
        """float64 (N, M) in [0, 1]: intersection over union with the masks of ``other`` (default: of this set)."""
        return _overlap(self, self if other is None else other, of_first=False)

    def containment(self, other: MaskSet | None = None) -> NDArray[np.float64]:
        """float64 (N, M) in [0, 1]: the share of mask n of this set that lies inside mask m of ``other``."""
        return _overlap(self, self if other is None else other, of_first=True)

    def decode(self) -> NDArray[np.bool_]:
        """bool (N, H, W): all masks, dense. Needs N x H x W bytes; :meth:`iter_decoded` needs one mask's."""
        masks_NHW = np.empty((len(self), *self.size_hw), dtype=bool)
        for n, mask_HW in enumerate(self.iter_decoded()):
            masks_NHW[n] = mask_HW
        return masks_NHW

    def iter_decoded(self) -> Iterator[NDArray[np.bool_]]:
        """Yields each mask as bool (H, W), in order."""
        for rle in self.rles:
            yield decode_mask(self.size_hw, rle)

    def children(self, i: int) -> NDArray[np.int64]:
        """int64 (K,): indices of the masks whose parent is ``i``; ``-1`` gives the roots.

        Raises:
            IndexError: when ``i`` is neither -1 nor the index of a mask.
        """
        if not NO_PARENT <= i < len(self):
            raise IndexError(f"i must be -1 or an index below {len(self)}, got {i}")
        return np.flatnonzero(self.parent == i)

    def depth(self) -> NDArray[np.int32]:
        """int32 (N,): how many ancestors each mask has; 0 for a root."""
        depth = np.zeros(len(self), dtype=np.int32)
        for ancestor in self._ancestors():
            depth += ancestor != NO_PARENT
        return depth

    def at_theta(self, theta: float) -> MaskSet:
        """The cut through the hierarchy at one granularity.

        Walking down from each root, the first mask that is at least as fine as ``theta`` is taken; a mask with no
        children stands for itself however coarse it is. ``0`` gives the roots, ``1`` the leaves.

        Args:
            theta: Granularity in [0, 1].

        Returns:
            The masks of the cut, none of which is an ancestor of another; all of them are roots of the result.

        Raises:
            ValueError: when ``theta`` is outside [0, 1].
        """
        if not 0 <= theta <= 1:
            raise ValueError(f"theta must be within [0, 1], got {theta}")
        is_leaf = np.ones(len(self), dtype=bool)
        is_leaf[self.parent[self.parent != NO_PARENT]] = False
        stops = (self.theta >= theta) | is_leaf
        taken_above = np.zeros(len(self), dtype=bool)
        for ancestor in self._ancestors():
            taken_above |= (ancestor != NO_PARENT) & stops[ancestor]
        return self[stops & ~taken_above]

    def _ancestors(self) -> Iterator[NDArray[np.int32]]:
        """Yields each mask's parent, then its parent's parent, ... as long as any has one; -1 for those without."""
        ancestor = self.parent
        while (ancestor != NO_PARENT).any():
            yield ancestor
            ancestor = np.where(ancestor == NO_PARENT, NO_PARENT, self.parent[ancestor])

    # ---------------------------------------------------------------- giving it away

    def with_fields(self, **fields: Any) -> MaskSet:
        """A copy in which the named fields (``score``, ``level``, ``theta``, ``parent``, ``source``) are replaced."""
        return replace(self, **fields)

    def to_rle_dicts(self) -> list[dict[str, Any]]:
        """N ``{"size": [H, W], "counts": bytes}`` as ``pycocotools.mask`` takes them."""
        return mask_codes.rle_dicts(self.size_hw, self.rles)

    def to_coco(self, *, image_id: int = 1, first_id: int = 1, category_id: int = 1) -> list[dict[str, Any]]:
        """N COCO annotations (ids from ``first_id``), with ``score``, ``level``, ``theta``, ``parent`` and ``source``.

        ``parent`` is the annotation id of the parent, or 0 for a root.
        """
        boxes_xyxy = self.boxes_xyxy
        boxes_xywh = np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)
        # Lists, as numbers of Python's own are read from them ten times faster than from arrays.
        columns = (self.area_px, boxes_xywh, self.level, np.where(self.parent < 0, 0, first_id + self.parent))
        areas, boxes, levels, parents = (column.tolist() for column in columns)
        scores, thetas = [_short(v) for v in self.score.tolist()], [_short(v) for v in self.theta.tolist()]
        return [
            {
                "id": first_id + n,
                "image_id": image_id,
                "category_id": category_id,
                "iscrowd": 0,
                "area": areas[n],
                "bbox": boxes[n],
                "segmentation": {"size": list(self.size_hw), "counts": rle.decode("ascii")},
                "score": scores[n],
                "level": levels[n],
                "theta": thetas[n],
                "parent": parents[n],
                "source": self.source[n],
            }
            for n, rle in enumerate(self.rles)
        ]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; :meth:`from_dict` gives an equal set back. Numbers keep six significant digits."""
        return {
            "size": list(self.size_hw),
            "counts": [rle.decode("ascii") for rle in self.rles],
            "score": [_short(v) for v in self.score.tolist()],
            "level": self.level.tolist(),
            "theta": [_short(v) for v in self.theta.tolist()],
            "parent": self.parent.tolist(),
            "source": list(self.source),
        }

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> MaskSet:
        """The set that :meth:`to_dict` wrote.

        Raises:
            KeyError: when a field is missing.
            ValueError: as the class does.
        """
        fields = {name: row[name] for name in ("score", "level", "theta", "parent", "source")}
        return cls.from_rles(tuple(row["size"]), [counts.encode("ascii") for counts in row["counts"]], **fields)

    def to_supervision(self) -> supervision.Detections:
        """roboflow supervision's ``Detections`` with boxes, masks, scores and ``data["level" | "theta" | "parent"]``.

        Raises:
            ImportError: when supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision() needs roboflow supervision: pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            mask=self.decode(),
            confidence=self.score.copy(),
            class_id=np.zeros(len(self), dtype=int),
            data={"level": self.level.copy(), "theta": self.theta.copy(), "parent": self.parent.copy()},
        )


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _overlap(first: MaskSet, second: MaskSet, *, of_first: bool) -> NDArray[np.float64]:
    if first.size_hw != second.size_hw:
        raise ValueError(f"masks must be of one image size, got {first.size_hw} and {second.size_hw}")
    return mask_codes.overlap(first.size_hw, first.rles, second.rles, of_first=of_first)
