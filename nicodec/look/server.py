"""The live page of one file: for who was told its address only, with fixed paths and no files behind them.

127.0.0.1 is open to every user of the machine and to every page in its browsers. So each path begins with a random
token; a browser says with `Sec-Fetch-Site` which site asks, and only the page itself may; and a site whose name was
bound to 127.0.0.1 is known by the `Host` it asks for.
"""

from __future__ import annotations

import io
import json
import secrets
import threading
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from werkzeug.exceptions import Forbidden, HTTPException, NotFound
from werkzeug.routing import Map, Rule, Submount
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from nicodec.bitmap import bit_costs, draw
from nicodec.errors import NicodecError, UsageError
from nicodec.image.picture import Picture
from nicodec.look.rivals import SAVING, Rival, rival
from nicodec.look.session import Session, as_image, as_rgb, parse_box

HOST = "127.0.0.1"
OWN_SITES = ("same-origin", "none")  # `Sec-Fetch-Site` of the page's own requests, and of an address that was typed
STATIC = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "sources.js": "text/javascript",
}


class Page:
    """The WSGI application. Its paths begin with `token`, or where the page is opened, once, with `ticket`.

    A browser gets its address as an argument, which others of the machine can read, so that one must not last.

    Args:
        name: of the file, as shown.
        original: to compare with, of the same size; None: there is none.
    """

    def __init__(self, session: Session, name: str, original: Picture | None) -> None:
        self.session, self.name, self.original = session, name, original
        self.rival = cache(self._rival)
        self.token = secrets.token_urlsafe()
        self.ticket: str | None = secrets.token_urlsafe()
        self.lock = threading.Lock()
        names = *STATIC, "facts", "picture", "original", "rival", "bits"
        rules = [Rule("/", endpoint="index"), *(Rule(f"/{name}", endpoint=name) for name in names)]
        self.routes = Map([Submount(f"/{self.token}", rules)])

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request that may ask (see `_admit`)."""
        request = Request(environ)
        try:
            if self._admit(request):
                return redirect(f"/{self.token}/")(environ, start_response)
            endpoint, _ = self.routes.bind_to_environ(environ).match()
            response = self._answer(str(endpoint), request)
        except HTTPException as error:
            return error(environ, start_response)
        except NicodecError as error:
            response = Response(str(error), 400)
        response.headers["Cache-Control"] = "no-store"
        return response(environ, start_response)

    def _admit(self, request: Request) -> bool:
        """Whether a request has the ticket, which is spent then.

        Raises:
            Forbidden: it has neither ticket nor token, is another site's, or came by another name of this machine.
        """
        if (request.host.rpartition(":")[0] or request.host) not in (HOST, "localhost"):
            raise Forbidden("the page is asked for by another name than its own")
        if request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES:
            raise Forbidden("another site asks; open the address that nicodec view printed")
        given = request.path.split("/")[1].encode()
        if secrets.compare_digest(given, self.token.encode()):
            return False
        with self.lock:
            if self.ticket is None or not secrets.compare_digest(given, self.ticket.encode()):
                raise Forbidden("the address lacks its token, or was used up; open the one that nicodec view printed")
            self.ticket = None
        return True

    def _answer(self, endpoint: str, request: Request) -> Response:
        if endpoint == "index" or endpoint in STATIC:
            name = "page.html" if endpoint == "index" else endpoint
            return Response(files("nicodec.look").joinpath(name).read_bytes(), content_type=STATIC[name])
        if endpoint == "facts":
            return Response(json.dumps(self._facts()), content_type="application/json")
        if endpoint == "bits":
            return Response(draw(bit_costs(self.session.file), self.session.header), content_type="image/png")
        box = parse_box(request.args.get("box", ""), self.session.whole)
        note, alpha = "", None
        if endpoint == "picture":
            anchor, tau = request.args.get("anchor", "fidelity"), request.args.get("tau", 0.0, float)
            pixels = self.session.render(anchor, tau, request.args.get("steps", 1, int), box)
            alpha = self.session.alpha
        elif self.original is None:
            raise NotFound("there is no original to compare with")
        elif endpoint == "original":
            pixels, alpha = as_rgb(self.original.pixels)[box.slices], self.original.alpha
        else:
            kind = request.args.get("kind", "avif")
            if kind not in SAVING:
                raise NotFound(f"no codec {kind}")
            best = self.rival(kind)
            pixels, note = best.pixels[box.slices], f"quality {best.quality}, {best.size} bytes"
            note += " at least" if best.size > self.session.file.size else ""
        buffer = io.BytesIO()
        as_image(pixels, None if alpha is None else alpha[box.slices]).save(buffer, "PNG", compress_level=1)
        response = Response(buffer.getvalue(), content_type="image/png")
        response.headers["X-Note"] = note
        if self.original is not None and endpoint != "original":
            error = as_rgb(self.original.pixels)[box.slices].astype(np.float32) - as_rgb(pixels)
            response.headers["X-MSE"] = f"{np.square(error).mean():.4f}"
        return response

    def _facts(self) -> dict[str, Any]:
        rivals = [] if self.original is None else list(SAVING)
        return {"name": self.name, **self.session.facts(), "original": self.original is not None, "rivals": rivals}

    def _rival(self, kind: str) -> Rival:
        assert self.original is not None
        return rival(kind, np.ascontiguousarray(as_rgb(self.original.pixels)), self.session.file.size)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Requests are no news."""


def address(server: BaseWSGIServer, token: str) -> str:
    """Where a server shows its page: to who has the page's `token`, or once, with its `ticket`."""
    return f"http://{HOST}:{server.port}/{token}/"


def serve(page: Page, port: int = 0) -> BaseWSGIServer:
    """A server on this machine's own address; port 0 picks a free one. Its `serve_forever` ends on Ctrl-C.

    Raises:
        UsageError: another program has the port.
    """
    try:
        return make_server(HOST, port, page, threaded=True, request_handler=_Quiet)
    except SystemExit:  # werkzeug's way
        raise UsageError(f"port {port} cannot be had; leave --port out for a free one") from None
