"""A Chromium without a network, driven by its DevTools protocol over a pipe, so that no package is needed for it."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-background-networking"]
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
KEYS = {"Tab": 9, "Enter": 13, " ": 32}
SECONDS = 60


class Browser:
    """One tab; to be used in a `with`."""

    def __init__(self, folder: Path):
        self._folder, self._number, self.events = folder, 0, []

    def __enter__(self):
        there, self._write = os.pipe()
        self._read, back = os.pipe()
        command = [CHROMIUM, *OPTIONS, *OFFLINE, f"--user-data-dir={self._folder}", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{there} 4>&{back}', "chromium", *command]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(shell, pass_fds=(there, back), **quiet)
        os.close(there)
        os.close(back)
        self._file, self._session = os.fdopen(self._read, "rb"), None
        (target,) = (one for one in self.do("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self.do(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._file.close()
        os.close(self._write)

    def do(self, method: str, **params):
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict:
        text = bytearray()
        while (byte := self._file.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            text += byte
        return json.loads(text)

    def open(self, address: str) -> None:
        self.do("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str):
        """What JavaScript says, as JSON."""
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"waited in vain for {expression}"
            time.sleep(0.05)

    def choose(self, selector: str, *paths: Path) -> None:
        """Choose files in a field."""
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.do("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def press(self, key: str) -> None:
        text = {"Enter": "\r", " ": " "}.get(key)
        about = {"key": key, "windowsVirtualKeyCode": KEYS[key], **({"text": text} if text else {})}
        self.do("Input.dispatchKeyEvent", type="keyDown", **about)
        self.do("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=KEYS[key])

    def resize(self, width: int, height: int = 800, *, touch: bool = False) -> None:
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.do("Emulation.setTouchEmulationEnabled", enabled=touch)

    def dark(self, on: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.do("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """A PNG of the whole page."""
        return base64.b64decode(self.do("Page.captureScreenshot", captureBeyondViewport=True)["data"])
