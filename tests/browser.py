"""Pages in a headless Chromium, which is told by a server of this process what they ran or loaded."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--virtual-time-budget=4000",
)  # fmt: skip

# Ways out of wherever a page puts a text; HOME is where they report to.
PAYLOADS: Mapping[str, str] = {
    "script": "<script>fetch('HOME/script')</script>",
    "script-end": "</script><script>fetch('HOME/script-end')</script>",
    "title-end": "</title><script>fetch('HOME/title-end')</script>",
    "style-end": "</style><script>fetch('HOME/style-end')</script>",
    "pre-end": "</pre></code></textarea><img src=x onerror=\"fetch('HOME/pre-end')\">",
    "comment-end": "--> <script>fetch('HOME/comment-end')</script>",
    "attribute": "x\" onload=\"fetch('HOME/attribute')\" autofocus onfocus=\"fetch('HOME/attribute')",
    "attribute-end": "\"><img src=x onerror=fetch('HOME/attribute-end')>",
    "single-quote": "'><img src=x onerror=fetch('HOME/single-quote')>",
    "svg": "<svg onload=\"fetch('HOME/svg')\"></svg>",
    "svg-end": "</text></title></svg><script>fetch('HOME/svg-end')</script>",
    "svg-animate": "<svg><set onbegin=\"fetch('HOME/svg-animate')\" attributeName=x to=y></svg>",
    "image": "<img src=HOME/image>",
    "css": "<style>@import 'HOME/css';</style>",
    "css-value": "red;background:url(HOME/css-value)",
    "link": "<link rel=stylesheet href=HOME/link>",
    "frame": "<iframe src=HOME/frame></iframe>",
    "frame-doc": "<iframe srcdoc=\"<script>fetch('HOME/frame-doc')</script>\"></iframe>",
    "object": "<object data=HOME/object></object>",
    "refresh": "<meta http-equiv=refresh content='0;url=HOME/refresh'>",
    "script-address": "javascript:fetch('HOME/script-address')",
    "script-link": "<a href=\"javascript:fetch('HOME/script-link')\" autofocus>x</a>",
    "entity": "&lt;script&gt;fetch('HOME/entity')&lt;/script&gt;&#60;img src=HOME/entity&#62;",
    "template": "{{ ''.__class__ }}{% raw %}<script>fetch('HOME/template')</script>",
    "math": "<math><mtext><img src=x onerror=fetch('HOME/math')></mtext></math>",
    "details": "<details open ontoggle=fetch('HOME/details')>",
    "null": "<scr\x00ipt>fetch('HOME/null')</scr\x00ipt><script\x0c>fetch('HOME/null')</script>",
}
# Those that need no click, no attribute and no style to stand in: raw in a page each of them must report.
RAW = {
    "script", "script-end", "pre-end", "attribute-end", "single-quote", "svg", "svg-end", "image", "css",
    "link", "frame", "frame-doc", "object", "math", "details",
}  # fmt: skip


@contextmanager
def home() -> Iterator[tuple[str, list[str]]]:
    """(address, the paths that were asked for so far) of a server."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.strip("/"))
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def show(pages: Mapping[str, str], folder: Path) -> str:
    """Opens all pages, each in a frame of its own; the outer page's elements as they are then."""
    assert CHROMIUM is not None
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html, "utf-8", "surrogatepass")
    frames = "".join(f'<iframe src="{name}.html" width="1000" height="2000"></iframe>' for name in pages)
    (folder / "all.html").write_text(f"<!doctype html><title>all</title>{frames}")
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        f"file://{folder}/all.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout
