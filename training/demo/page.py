"""The page: what is on it, and what happens when it is used. The only file that knows Gradio.

A tab's session is kept by the server, at most :data:`MOST_TABS` of them: what the model made of a photograph takes tens
of megabytes. The model answers one question at a time.
"""

from __future__ import annotations

import html
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from dico.image import ImageError
from dico.interrupt import Interrupt
from training.demo.clicks import Click, Use, open_corner, pixel_at
from training.demo.downloads import write_coco, write_png
from training.demo.pictures import draw, draw_choices, view_size
from training.demo.session import Answer, Segmenter, Session, next_step
from training.demo.uploads import LIMITS, MAX_MEGABYTES, read_upload

HOST = "127.0.0.1"
"""This machine alone: there is no password, and photographs are nobody else's business."""
MOST_TABS = 8
LOOK_EVERY_S = 0.1
START = f"Load a photograph ({LIMITS}) to begin."
NONE = f"Load a photograph first. If there was one, load it again: the page keeps those of the last {MOST_TABS} tabs."
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")  # none is fetched

Shown = tuple[Session | None, Any, Any, Any, str]
"""The session; the picture, the masks to choose from, the slider and the sentence under the picture."""


def serve(segmenter: Segmenter, *, port: int | None, open_browser: bool, about: str = "") -> None:
    """Serves the page to this machine until the process gets Ctrl-C or SIGTERM; nothing of it is left then.

    Args:
        segmenter: Answers.
        port: Where; None for the first free one from 7860.
        open_browser: Whether to open the page in the browser.
        about: As for :func:`build_page`.

    Raises:
        OSError: when the port is taken.
    """
    with Interrupt(b"") as interrupt, tempfile.TemporaryDirectory(prefix="demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # photographs, too, are gone when the page is closed
        page = build_page(segmenter, Path(folder), about=about)
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            ssr_mode=False,
            max_file_size=f"{MAX_MEGABYTES}mb",
            state_session_capacity=MOST_TABS,
            footer_links=[],
            quiet=True,
            prevent_thread_lock=True,
            theme=gr.themes.Default(primary_hue="orange", neutral_hue="stone", font=FONTS, font_mono=("monospace",)),
            css=Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        )
        print(f"demo: the page is at {address} until this command is stopped (Ctrl-C)", flush=True)
        while page.is_running and not interrupt.requested:
            time.sleep(LOOK_EVERY_S)
        page.close(verbose=False)


def build_page(segmenter: Segmenter, folder: Path, *, about: str = "") -> gr.Blocks:
    """The page, not yet served.

    Args:
        segmenter: Answers.
        folder: Where files wait to be downloaded.
        about: What those who look at it should know of the model, as a sentence; empty for nothing.
    """
    said = f"One click, six masks: from the part to the whole. {html.escape(about)}".strip()
    with gr.Blocks(analytics_enabled=False, title="Segment with a click", delete_cache=(600, 3600)) as page:
        session = gr.State(None)
        gr.HTML(f"<h1>Segment with a click</h1><p>{said}</p>", elem_id="head")
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=480):
                picture = gr.Image(interactive=False, format="jpeg", show_label=False, buttons=[], elem_id="picture")
                status = gr.HTML(START, elem_id="status")
                choices = gr.Gallery(
                    show_label=False,
                    columns=6,
                    format="jpeg",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    height="auto",
                    visible=False,
                    elem_id="choices",
                )
            with gr.Column(scale=3, min_width=280):
                upload = gr.File(
                    label=f"Photograph, {LIMITS}", file_types=["image"], type="filepath", height=150, elem_id="upload"
                )
                use = gr.Radio(list(Use), value=Use.WANTED, label="A click marks what is", elem_id="use")
                with gr.Row():
                    undo = gr.Button("Undo", size="md", elem_id="undo")
                    clear = gr.Button("Clear", size="md", elem_id="clear")
                slider = gr.Slider(
                    0,
                    1,
                    value=0.5,
                    step=0.01,
                    label="Granularity",
                    info="0: a part, 1: the whole",
                    elem_id="granularity",
                )
                everything = gr.Button("Segment everything", variant="primary", elem_id="everything")
                with gr.Row():
                    save_coco = gr.Button("Save COCO json", size="md", elem_id="save-coco")
                    save_png = gr.Button("Save PNG", size="md", elem_id="save-png")
                ready = gr.DownloadButton("Ready", elem_id="ready")

        shown = [session, picture, choices, slider, status]
        _on(
            upload.upload, partial(_opened, segmenter), [upload, session], outputs=[*shown, upload], progress_on=picture
        )
        change = partial(_on, outputs=shown, progress_on=picture)
        change(picture.select, _clicked_with(segmenter), [session, use])
        change(undo.click, partial(_changed, segmenter.undone), [session])
        change(clear.click, partial(_changed, segmenter.cleared), [session])
        change(everything.click, partial(_changed, segmenter.with_everything), [session])
        change(choices.select, _picked, [session])
        # Only the last of the places that a moving slider passes counts.
        change(slider.input, _moved, [session, slider], trigger_mode="always_last")
        for button, write in ((save_coco, write_coco), (save_png, write_png)):
            saved = _on(button.click, partial(_saved, write, folder), [session], outputs=[ready], progress_on=button)
            saved.success(None, js="() => document.querySelector('#ready').click()")
    return page


def _on(
    event: Callable[..., Any],
    respond: Callable[..., Any],
    inputs: list[Any],
    *,
    outputs: Any,
    progress_on: Any,
    **more: Any,
) -> Any:
    return event(
        respond,
        inputs,
        outputs,
        concurrency_id="model",
        concurrency_limit=1,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=progress_on,
        **more,
    )


# ---------------------------------------------------------------- what happens


def _opened(segmenter: Segmenter, path: str, session: Session | None) -> tuple[Any, ...]:
    """What is shown, and what remains in the box for files: nothing that was refused."""
    try:
        opened = segmenter.open(read_upload(path), Path(path).name)
    except ImageError as error:
        return (session, gr.skip(), gr.skip(), gr.skip(), _line(html.escape(str(error)), is_error=True), None)
    return (*_shown(opened), gr.skip())


def _clicked_with(segmenter: Segmenter) -> Callable[..., Shown]:
    # Gradio reads from the annotation that it is to say where the click was.
    def clicked(session: Session | None, use: str, event: gr.SelectData) -> Shown:
        if session is None:
            return _shown(None)
        x, y = pixel_at(event.index, view_size(session.size_hw), session.size_hw)
        return _shown(segmenter.with_click(session, Click(x, y, Use(use))))

    return clicked


def _changed(change: Callable[[Session], Session], session: Session | None) -> Shown:
    return _shown(None if session is None else change(session))


def _picked(session: Session | None, event: gr.SelectData) -> Shown:
    return _with_answer(session, lambda answer: answer.picked(int(event.index)))


def _moved(session: Session | None, granularity: float) -> Shown:
    shown = _with_answer(session, lambda answer: answer.at(float(granularity)))
    return (*shown[:3], gr.skip(), shown[4])  # the slider is in somebody's hand


def _with_answer(session: Session | None, change: Callable[[Answer], Answer]) -> Shown:
    if session is None or session.answer is None:
        return _shown(session)
    return _shown(Session(session.name, session.image, session.seen, session.clicks, change(session.answer)))


def _saved(write: Callable[[Session, Answer, Path], Path], folder: Path, session: Session | None) -> str:
    if session is None or session.answer is None:
        raise gr.Error(
            "There are no masks yet: click on the photograph, or segment everything.",
            title="Nothing to save",
            print_exception=False,
        )
    return str(write(session, session.answer, Path(tempfile.mkdtemp(dir=folder))))


# ---------------------------------------------------------------- what is shown


def _shown(session: Session | None) -> Shown:
    if session is None:
        return (None, gr.skip(), gr.skip(), gr.skip(), _line(NONE, is_error=True))
    answer = session.answer
    choices: Any = gr.Gallery(value=None, visible=False)
    slider: Any = gr.skip()
    if answer is not None:
        slider = round(answer.granularity, 2)  # as it is written beside the slider
    if answer is not None and not answer.is_everything:
        captions = [f"{score:.2f}" for score in answer.masks.score]
        pictures = list(zip(draw_choices(session), captions, strict=True))
        choices = gr.Gallery(value=pictures, visible=True, selected_index=answer.place)
    return (session, draw(session), choices, slider, _line(_sentence(session)))


def _sentence(session: Session) -> str:
    answer = session.answer
    if open_corner(session.clicks) is not None and (answer is None or not answer.is_everything):
        return "Now click on the opposite corner of the box."
    if answer is None:
        return next_step(session)
    masks = answer.shown()
    height, width = session.size_hw
    if answer.is_everything and not len(answer.masks):
        return "No mask was good enough; started with <code>automatic.min_iou=0.5</code>, say, the page asks for less."
    if answer.is_everything:
        return f"<b>{len(masks)} masks</b> of {len(answer.masks)} at this granularity."
    area = int(masks.area_px[0])
    return (
        f"<b>Mask {answer.place + 1} of {len(answer.masks)}</b> · predicted IoU {masks.score[0]:.2f} · {area:,} px, "
        f"{area / (height * width):.1%} of the photograph"
    )


def _line(sentence: str, *, is_error: bool = False) -> str:
    return f'<p class="{"error" if is_error else ""}">{sentence}</p>'
