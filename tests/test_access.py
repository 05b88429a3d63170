"""Who may ask the live page: it itself, and who was told its address."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from test_look import get

from nicodec.look.server import Page, address
from nicodec.look.session import Session

ROOT = Path(__file__).parents[1]
FETCH = "address => { fetch(address, { mode: 'no-cors' }); }"  # as any site may
EVERYTHING = ("", "facts", "picture", "original", "rival?kind=jpeg", "bits", "page.js", "nowhere")


def status(address, **headers):
    try:
        return get(address, **headers)[1] and 200
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("path", EVERYTHING)
def test_who_has_no_token_gets_nothing(served, path):
    """Another user of the machine, or a page that tries ports."""
    server, page = served
    root = address(server, "").rstrip("/")
    for wrong in ("", f"{page.token[:-1]}x/", f"{page.token[:-1]}/", f"{page.token}x/", f"x/{page.token}/", "%ff/"):
        assert status(f"{root}/{wrong}{path}") == 403
    assert status(f"{root}/{path}", Referer=f"{root}/{page.token}/") == 403


@pytest.mark.parametrize(("headers", "code"), [
    *(({"Sec-Fetch-Site": site}, 403) for site in ("cross-site", "same-site", "unheard-of")),
    *(({"Sec-Fetch-Site": site}, 200) for site in ("same-origin", "none")),
    *(({"Host": host}, 403) for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1]", "")),
    *(({"Host": host}, 200) for host in ("localhost", "localhost:99", "127.0.0.1")),
])  # fmt: skip
def test_who_has_the_token_but_is_another_page_gets_nothing(place, headers, code):
    """A page of another site, and one whose name was bound to this machine's address."""
    for path in ("", "facts", "picture?box=0,0,8,8", "page.js"):
        assert status(place + path, **headers) == code


def test_a_ticket_opens_the_page_once(served):
    """A browser's arguments can be read by others: what stands there is worth nothing afterwards."""
    server, page = served
    once = address(server, page.ticket)
    assert status(once, **{"Sec-Fetch-Site": "cross-site"}) == 403
    with urllib.request.urlopen(once, timeout=60) as response:
        assert response.url == address(server, page.token)
        assert b"<title>nicodec</title>" in response.read()
    for path in ("", "facts"):
        assert status(once + path) == 403


def test_a_browser_is_given_the_ticket_alone(coded, tmp_path):
    (tmp_path / "a.nic").write_bytes(coded[1])
    (tmp_path / "browser").write_text('#!/bin/sh\necho "$1" > seen.part\nmv seen.part seen\n')
    (tmp_path / "browser").chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "nicodec", "view", "a.nic"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BROWSER": f"{tmp_path}/browser %s"},
    )  # fmt: skip
    try:
        printed = re.search(r"http://\S+/", process.stderr.readline())[0]
        deadline = time.monotonic() + 30
        while not (tmp_path / "seen").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        given = (tmp_path / "seen").read_text().strip()
        assert given != printed
        with urllib.request.urlopen(given, timeout=60) as response:
            assert response.url == printed
        assert status(given) == 403
        assert status(printed) == 200
    finally:
        process.kill()
        process.wait()


def test_tokens_are_not_to_be_guessed(coded):
    session = Session(coded[1], "cpu")
    pages = [Page(session, "a.nic", None) for _ in range(2)]
    tokens = {held for page in pages for held in (page.token, page.ticket)}
    assert len(tokens) == 4
    assert min(map(len, tokens)) >= 32


def test_a_page_of_another_site_in_a_browser(browser, place):
    """Even with the address, which it cannot know. By its other name, this machine is another site."""
    page = browser.new_page()
    page.goto(place.replace("127.0.0.1", "localhost"))
    picture = f"{place}picture?box=0,0,8,8"
    with page.expect_response(lambda response: response.url == picture) as heard:
        page.evaluate(FETCH, picture)
    assert heard.value.status == 403
    page.goto(place)
    with page.expect_response(lambda response: response.url == picture) as heard:
        page.evaluate(FETCH, picture)
    assert heard.value.status == 200
    page.close()
