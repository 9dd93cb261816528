"""Metadata only: nothing is compiled, nothing heavy is imported."""

from pathlib import Path

from setuptools import find_packages, setup

TRAIN = ["safetensors>=0.4", "torch>=2.4"]
HF = [*TRAIN, "transformers>=4.56"]
CRF = ["pydensecrf2>=1.0"]
EXPORT = ["pyarrow>=15"]
DEMO = ["gradio>=6"]
FAST_EVAL = ["faster-coco-eval>=1.8"]  # verifies figures sooner; never needed
RAY = ["ray>=2.40"]
RAY_TRAIN = ["ray[train]>=2.60"]  # what labelling needs no part of: pandas and more
TENSORBOARD = ["tensorboard>=2.18"]
LINT = ["mypy>=1.10", "ruff>=0.6", "scipy-stubs>=1.14", "types-PyYAML>=6"]
TEST = ["hypothesis>=6", "packaging>=23", "pytest>=8", "supervision>=0.22"]

setup(
    name="divide-and-conquer",
    version="0.1.0",
    description="Multi-granular masks from unlabelled photographs, and the models trained on them",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["dico", "dico.*", "training", "training.*"]),
    package_data={
        "dico": ["py.typed", "gallery_assets/*"],
        "training": ["py.typed", "demo/page.css", "evaluation/pages/page.css"],
    },
    install_requires=[
        "numba>=0.60",
        "numpy>=1.26",
        "pillow>=10",
        "pycocotools>=2.0.7",
        "pyyaml>=6",
        "scikit-image>=0.22",
        "scipy>=1.11",
        "threadpoolctl>=3.1",
        "tqdm>=4.60",
        "zstandard>=0.21",
    ],
    extras_require={
        "crf": CRF,
        "demo": [*TRAIN, *DEMO],
        "fast-eval": FAST_EVAL,
        "hf": HF,
        "parquet": EXPORT,
        "ray": RAY,
        "ray-train": [*TRAIN, *RAY_TRAIN],
        "tensorboard": [*TRAIN, *TENSORBOARD],
        "train": TRAIN,
        "dev": [*CRF, *DEMO, *FAST_EVAL, *HF, *EXPORT, *RAY, *RAY_TRAIN, *TENSORBOARD, *LINT, *TEST],
    },
    entry_points={"console_scripts": ["dico=dico.cli:main"]},
)
