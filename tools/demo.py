"""Opens a page in the browser: click on a photograph, and see what the click may mean. For this machine alone.

It starts with the small model in weights/. Another one is trained so:
    python tools/train_net.py --config-file configs/training/promptable_tiny.yaml 'data.train=[labels/]' output=clicks

Example:
    python tools/demo.py
    python tools/demo.py clicks/model_final.pth
    python tools/demo.py clicks/model_final.pth --port 8000 automatic.min_iou=0.7
"""

from __future__ import annotations

import argparse
import errno
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dico.command_line import DONE, exit_code
from training.demo.session import Segmenter
from training.device import choose_device

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
ABOUT_SHIPPED = (
    "This is the small model that comes with the project, to try the page with; python tools/demo.py CHECKPOINT shows"
    " yours."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 when the page was closed, 2 wrong usage, 130 interrupted before there was one, or twice.
    """
    return exit_code("demo", lambda: _serve(_parser().parse_intermixed_args(argv)))


def _serve(args: argparse.Namespace) -> int:
    try:
        from training.demo.page import HOST, serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ImportError("the page needs gradio: pip install 'divide-and-conquer[demo]'") from error
    if args.port is not None:
        _require_free(HOST, args.port)
    words = [*args.words]
    # Without a checkpoint the first word is a setting already.
    named = bool(words) and ("=" not in words[0] or Path(words[0]).exists())
    checkpoint = Path(words.pop(0)) if named else shipped_checkpoint(WEIGHTS)
    device = choose_device(args.device)
    segmenter = Segmenter.from_checkpoint(checkpoint, config_file=args.config_file, overrides=words, device=device)
    serve(segmenter, port=args.port, open_browser=not args.no_browser, about="" if named else ABOUT_SHIPPED)
    return DONE


def shipped_checkpoint(folder: Path) -> Path:
    """The promptable checkpoint that comes with the project.

    Args:
        folder: Where its weights lie.

    Raises:
        FileNotFoundError: when there is none; says how to make one.
    """
    found = sorted(path for path in folder.glob("promptable*") if path.suffix in (".pth", ".safetensors"))
    if not found:
        raise FileNotFoundError(
            f"no CHECKPOINT was named, and there is no promptable*.pth or .safetensors in {folder}; train one: python "
            "tools/train_net.py --config-file configs/training/promptable_tiny.yaml 'data.train=[labels/]' "
            "output=clicks, then python tools/demo.py clicks/model_final.pth"
        )
    return found[0]


def _require_free(host: str, port: int) -> None:
    """Raises OSError where a port is taken, before a model is read; Gradio would name a setting of its own."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or the port of a page just ended is taken
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise OSError(f"port {port} {why}: choose another --port, or leave it out") from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 65535, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CHECKPOINT key=value",
        help="of a promptable model, by default the one in weights/; and settings, such as automatic.min_iou=0.7",
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="YAML file of the network, where the checkpoint does not say it"
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="auto, cpu, cuda or mps (cpu)")
    parser.add_argument("--port", type=_port, metavar="N", help="where the page is served (the first free from 7860)")
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
