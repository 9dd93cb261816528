"""A headless Chromium for tests: pages are driven through the DevTools protocol, which it speaks over a pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-extensions --window-size=1400,1000 --remote-debugging-pipe"
)
PATIENCE_S = 60


class Browser:
    """A running browser; made by :func:`started`."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._rest = 0, b""

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """What the browser answers; what it tells in between is not listened to."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, address: str) -> Tab:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        tab.send("Page.navigate", url=address)
        return tab

    def save_into(self, folder: Path) -> None:
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], PATIENCE_S)[0]:
                raise TimeoutError("the browser does not answer")
            read = os.read(self._from, 1 << 20)
            if not read:
                raise EOFError("the browser is gone")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)


class Tab:
    """A page that is open."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **params)

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The value of an expression as soon as it is true."""
        until = time.monotonic() + PATIENCE_S
        while not (value := self.evaluate(script)):
            if time.monotonic() > until:
                raise TimeoutError(f"never true: {script}; the page says: {self.evaluate('document.body.innerText')}")
            time.sleep(0.05)
        return value

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def click(self, selector: str, share_xy: tuple[float, float] = (0.5, 0.5)) -> None:
        """Presses the mouse over an element as soon as there is one, at a share of its width and height."""
        self.send("Page.bringToFront")
        self.wait_for(f"document.querySelector({selector!r}) !== null")
        self.evaluate(f"document.querySelector({selector!r}).scrollIntoView({{ block: 'nearest' }})")
        box = self.evaluate(f"(({{x, y, width, height}}) => [x, y, width, height])"
                            f"(document.querySelector({selector!r}).getBoundingClientRect())")  # fmt: skip
        place = {"x": box[0] + share_xy[0] * box[2], "y": box[1] + share_xy[1] * box[3]}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", **place)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def close(self) -> None:
        """A browser opens no more than six connections to one server, and an open page may hold one."""
        self.send("Page.close")

    def photograph(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


def find_browser() -> str | None:
    """The program, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def started(program: str, profile: Path) -> Iterator[Browser]:
    """A browser that is closed at the end."""
    read_by_it, to_it = os.pipe()
    from_it, written_by_it = os.pipe()
    # It reads from descriptor 3 and writes to 4; the shell puts them there.
    command = f'exec "$0" "$@" 3<&{read_by_it} 4>&{written_by_it}'
    process = subprocess.Popen(
        ["bash", "-c", command, program, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(read_by_it, written_by_it),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_by_it)
    os.close(written_by_it)
    try:
        yield Browser(to_it, from_it)
    finally:
        process.terminate()
        process.wait()
        os.close(to_it)
        os.close(from_it)
