"""The transformers' features equal those of a plain forward pass written out from the papers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install torch transformers")
transformers = pytest.importorskip("transformers", reason="needs transformers: pip install torch transformers")

from dico.config import ExtractorConfig  # noqa: E402
from dico.features.vit import VitExtractor  # noqa: E402
from dico.image import Image, resize_image  # noqa: E402
from tests.reference.vit import (  # noqa: E402
    Shape,
    dinov3_facet,
    normalised_pixels,
    official_facet,
    random_official,
)

TOLERANCE = 1e-5

SHAPES = {
    "DINO ViT-S/16 of two blocks": Shape(width=384, depth=2, patch=16, grid=3),
    "DINO ViT-B/8 of two blocks": Shape(width=768, depth=2, patch=8, grid=3),
    "DINOv2": Shape(width=128, patch=14, dinov2=True),
    "DINOv2 with registers": Shape(width=128, patch=14, dinov2=True, registers=4),
    "DINOv2 gated": Shape(width=128, patch=14, dinov2=True, swiglu=True),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save_official(folder: Path, shape: Shape) -> tuple[dict[str, Any], str]:
    state, path = random_official(shape), folder / "official.pth"
    torch.save(state, path)
    return state, str(path)


def small(weights: str, **changes: Any) -> ExtractorConfig:
    return ExtractorConfig(**{"name": "dino", "weights": weights, "size": 32} | changes)


def expected(state: dict[str, Any], images: list[Image], *, block: int, facet: str = "key") -> Any:
    pixels = normalised_pixels(torch.from_numpy(np.stack(images)))
    return official_facet(state, pixels, block=block, facet=facet).numpy()


@pytest.fixture
def dino(tmp_path: Path) -> tuple[dict[str, Any], str]:
    """A small DINO of three blocks and two heads, its patches 8 pixels, its grid 4 x 4."""
    return save_official(tmp_path, Shape(width=128))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("grid_hw", [(3, 3), (4, 4), (5, 2)], ids=["small", "square", "oblong"])
def test_official_file_gives_the_published_networks_keys(
    tmp_path: Path, shape: Shape, grid_hw: tuple[int, int]
) -> None:
    state, path = save_official(tmp_path, shape)
    name = "dinov2" if shape.dinov2 else "dino"
    size_hw = (grid_hw[0] * shape.patch, grid_hw[1] * shape.patch)
    image = noise(*size_hw)
    extractor = VitExtractor(small(path, name=name, size=shape.patch * shape.grid))
    (features,) = extractor.extract([image], size=size_hw)
    (keys_hwC,) = expected(state, [image], block=shape.depth - 1)
    assert features.feats_hwC.shape == (*grid_hw, shape.width)
    assert features.feats_hwC.dtype == np.float32
    assert (features.stride, features.size_hw, features.graph) == (shape.patch, size_hw, None)
    np.testing.assert_allclose(features.feats_hwC, keys_hwC, atol=TOLERANCE)


@pytest.mark.parametrize("facet", ["key", "query", "value", "token"])
@pytest.mark.parametrize("block", [0, 1, -1, -3])
def test_any_facet_of_any_block(dino: tuple[dict[str, Any], str], facet: str, block: int) -> None:
    state, path = dino
    image = noise(32, 32)
    (features,) = VitExtractor(small(path, facet=facet, block=block)).extract([image])
    (feats_hwC,) = expected(state, [image], block=block % 3, facet=facet)
    np.testing.assert_allclose(features.feats_hwC, feats_hwC, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(features.feats_hwC, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [Shape(depth=1), Shape(depth=1, dinov2=True)], ids=["dino", "dinov2"])
def test_norms_use_the_published_epsilon(tmp_path: Path, shape: Shape) -> None:
    state = random_official(shape)
    for key in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        state[key] = state[key] * 1e-3  # variances near the epsilon, so that its value shows
    torch.save(state, tmp_path / "official.pth")
    extractor = VitExtractor(small(str(tmp_path / "official.pth"), name="dinov2" if shape.dinov2 else "dino"))
    (features,) = extractor.extract([noise(32, 32)])
    (keys_hwC,) = expected(state, [noise(32, 32)], block=0)
    np.testing.assert_allclose(features.feats_hwC, keys_hwC, atol=TOLERANCE)


def test_blocks_after_the_wanted_one_do_not_run(dino: tuple[dict[str, Any], str]) -> None:
    extractor = VitExtractor(small(dino[1], block=1))
    assert len(extractor._backbone.blocks) == 2


def test_batches_equal_one_by_one_in_order(dino: tuple[dict[str, Any], str]) -> None:
    images = [noise(20 + 7 * i, 50 - 5 * i, seed=i) for i in range(5)]
    alone = [VitExtractor(small(dino[1])).extract([image])[0] for image in images]
    for batch_size in (2, 16):
        together = VitExtractor(small(dino[1], batch_size=batch_size)).extract(images)
        assert [features.size_hw for features in together] == [image.shape[:2] for image in images]
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one.feats_hwC, other.feats_hwC, atol=TOLERANCE)


def test_no_images_no_features(dino: tuple[dict[str, Any], str]) -> None:
    assert VitExtractor(small(dino[1])).extract([]) == []


def test_images_of_any_shape_become_the_configured_square(dino: tuple[dict[str, Any], str]) -> None:
    state, path = dino
    image = noise(41, 75)
    (features,) = VitExtractor(small(path, size=48)).extract([image])
    (keys_hwC,) = expected(state, [resize_image(image, (48, 48))], block=2)
    assert features.size_hw == (41, 75)
    np.testing.assert_allclose(features.feats_hwC, keys_hwC, atol=TOLERANCE)


def test_another_size_than_the_configured_one(dino: tuple[dict[str, Any], str]) -> None:
    extractor, image = VitExtractor(small(dino[1])), noise(40, 40)
    (asked,) = extractor.extract([image], size=16)
    (configured,) = VitExtractor(small(dino[1], size=16)).extract([image])
    assert asked.feats_hwC.shape == (2, 2, 128)
    np.testing.assert_array_equal(asked.feats_hwC, configured.feats_hwC)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_close_and_gives_float32(dino: tuple[dict[str, Any], str], dtype: str) -> None:
    image = noise(32, 32)
    (exact,) = VitExtractor(small(dino[1])).extract([image])
    (half,) = VitExtractor(small(dino[1], dtype=dtype)).extract([image])
    cosine_hw = (exact.feats_hwC * half.feats_hwC).sum(axis=-1)
    assert half.feats_hwC.dtype == np.float32
    assert cosine_hw.min() > 0.995
    assert not np.array_equal(exact.feats_hwC, half.feats_hwC)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gpu_agrees_with_cpu(dino: tuple[dict[str, Any], str], dtype: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    image = noise(32, 32)
    (cpu,) = VitExtractor(small(dino[1])).extract([image])
    (gpu,) = VitExtractor(small(dino[1], device="cuda", dtype=dtype)).extract([image])
    assert (cpu.feats_hwC * gpu.feats_hwC).sum(axis=-1).min() > 0.995


def test_a_full_vit_s8_is_recognised_and_runs(tmp_path: Path) -> None:
    state, path = save_official(tmp_path, Shape(width=384, depth=12, patch=8, grid=28))
    assert sum(value.numel() for value in state.values()) == 21_670_272  # ViT-S/8 as published: 21.7 million
    (features,) = VitExtractor(small(path, size=24)).extract([noise(24, 24)])
    (keys_hwC,) = expected(state, [noise(24, 24)], block=11)
    assert features.feats_hwC.shape == (3, 3, 384)
    np.testing.assert_allclose(features.feats_hwC, keys_hwC, atol=TOLERANCE)


@pytest.mark.parametrize("block", [3, -4])
def test_a_block_that_does_not_exist(dino: tuple[dict[str, Any], str], block: int) -> None:
    with pytest.raises(ValueError, match=rf"extractor.block must be within \[-3, 2\], got {block}"):
        VitExtractor(small(dino[1], block=block))


def test_sizes_that_are_no_multiple_of_the_patch(dino: tuple[dict[str, Any], str]) -> None:
    with pytest.raises(ValueError, match=r"extractor.size must be a multiple of the patch, 32 or 40, got 36"):
        VitExtractor(small(dino[1], size=36))
    with pytest.raises(ValueError, match=r"size must be a multiple of the patch, 8 or 16, got 4"):
        VitExtractor(small(dino[1])).extract([noise(9, 9)], size=4)


def test_devices_and_batches_that_do_not_exist(dino: tuple[dict[str, Any], str]) -> None:
    with pytest.raises(ValueError, match=r"extractor.device must be a torch device.*'gpu'"):
        VitExtractor(small(dino[1], device="gpu"))
    with pytest.raises(ValueError, match=r"extractor\.batch_size must be at least 1, got 0"):
        small(dino[1], batch_size=0)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"extractor\.device=cuda:0: torch sees no CUDA device"):
            VitExtractor(small(dino[1], device="cuda:0"))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dino", Shape(width=128)),
        ("dinov2", Shape(width=128, patch=14, dinov2=True)),
        ("dinov2", Shape(width=128, patch=14, dinov2=True, registers=4)),
    ],
    ids=["dino", "dinov2", "dinov2 with registers"],
)
def test_a_hugging_face_folder_gives_what_the_official_file_gives(tmp_path: Path, name: str, shape: Shape) -> None:
    _, path = save_official(tmp_path, shape)
    config = small(path, name=name, size=shape.patch * 5)
    from_file = VitExtractor(config)
    from_file._backbone.model.save_pretrained(tmp_path / "folder")
    from_folder = VitExtractor(small(str(tmp_path / "folder"), name=name, size=config.size))
    image = noise(50, 40)
    (one,), (other,) = from_file.extract([image]), from_folder.extract([image])
    np.testing.assert_array_equal(one.feats_hwC, other.feats_hwC)


@pytest.mark.parametrize("facet", ["key", "query", "value", "token"])
@pytest.mark.parametrize("grid_hw", [(4, 4), (3, 5)])
def test_dinov3_folder_gives_the_published_networks_facets(
    tmp_path: Path, facet: str, grid_hw: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    config = transformers.DINOv3ViTConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_register_tokens=4,
        image_size=64,
        initializer_range=0.2,
    )
    model = transformers.DINOv3ViTModel(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    state = load_safetensors(tmp_path / "model.safetensors")
    size_hw = (grid_hw[0] * 16, grid_hw[1] * 16)
    image = noise(*size_hw)
    extractor = VitExtractor(small(str(tmp_path), name="dinov3", facet=facet))
    (features,) = extractor.extract([image], size=size_hw)
    pixels = normalised_pixels(torch.from_numpy(image[None]))
    (feats_hwC,) = dinov3_facet(state, pixels, block=1, facet=facet, heads=2).numpy()
    np.testing.assert_allclose(features.feats_hwC, feats_hwC, atol=TOLERANCE)


def load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)
