"""The page at `/`, in a real browser: what it shows, what a person can try, and that it asks nobody else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from oarlock_plugins.service import models as folder_of
from tests.plugins.reports.browser import Browser
from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.test_versions import nan_weights

HOSTILE = "<img src=x onerror='document.title=\"owned\"'>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def tab(serve, browser):
    """The browser; it leaves the page before the server that it asks is gone."""
    yield browser
    browser.call("Page.navigate", url="about:blank")


def until(browser, script, seconds=15):
    deadline = time.monotonic() + seconds
    while not browser.evaluate(script):
        assert time.monotonic() < deadline, (script, browser.evaluate("document.body.innerText"))
        time.sleep(0.05)


def click(browser, selector):
    browser.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def text(browser, selector):
    return browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def keep(browser, name):
    """A picture for a person to look at, where one asks for it."""
    if folder := os.environ.get("OARLOCK_SCREENSHOTS"):
        browser.screenshot(Path(folder) / f"{name}.png")


@pytest.fixture
def service(serve, models):
    for _ in range(3):
        bundles.publish(models)
    nan_weights(models, 4, None)
    folder_of.withdraw(models / "toy", 2, HOSTILE)
    bundles.publish_sums(models)
    return serve(models).wait("toy", "sums")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_what_it_shows(service, tab, width, dark):
    for seed in range(20):
        service.infer(Network().rows(2, seed=seed))
    address = f"http://127.0.0.1:{service.port}/"
    tab.open(address, width=width, dark=dark)
    until(tab, "document.querySelectorAll('section[data-model]').length === 2")
    assert text(tab, "#server").startswith("ready · onnxruntime on cpu · up ")
    card = text(tab, "[data-model=toy]")
    assert "serves\nversion 3" in card
    assert "x: FP32 [rows, 8]" in card
    assert tab.evaluate("[...document.querySelectorAll('[data-model=toy] .state')].map((one) => one.innerText)") == [
        "bad", "live", "withdrawn", "older"]  # fmt: skip
    assert "its reference inputs give another y" in card
    assert HOSTILE in card
    assert tab.evaluate("document.title") == "oarlock serve"
    assert " ms" in card.split("p50\n")[1].split("\n")[0]
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert tab.complaints == []
    assert {request for request in tab.requests if not request.startswith(address)} <= {"data:,"}


def test_a_try(service, tab):
    tab.open(f"http://127.0.0.1:{service.port}/")
    until(tab, "!document.getElementById('try').hidden")
    tab.evaluate("document.getElementById('try-model').value = 'toy'")
    tab.evaluate("document.getElementById('try-model').dispatchEvent(new Event('change'))")
    click(tab, "#try-fill")
    until(tab, "document.querySelector('[data-input=x]').value !== ''")
    row = json.loads(tab.evaluate("document.querySelector('[data-input=x]').value"))
    click(tab, "#try-send")
    until(tab, "document.querySelectorAll('#try-answer tbody tr').length === 4")
    assert text(tab, "#try-note").startswith("version 3 answered in ")
    expected = Network(shift=3)(np.array([row], "float32"))[0]
    assert text(tab, "#try-answer tr.best td") == f"class {int(expected.argmax())}"
    shown = tab.evaluate("[...document.querySelectorAll('#try-answer tbody tr')].map((one) => Number(one.cells[1].innerText))")
    np.testing.assert_allclose(shown, expected, rtol=1e-3)
    keep(tab, "serve")
    # What was typed stays while the page refreshes itself, and a mistake is answered in words.
    tab.evaluate("document.querySelector('[data-input=x]').value = '[1, 2'")
    time.sleep(1.3)
    click(tab, "#try-send")
    assert text(tab, "#try-note") == "x: expected numbers in brackets, such as [0.5, 1]"
    tab.evaluate("document.querySelector('[data-input=x]').value = '[1, 2]'")
    click(tab, "#try-send")
    until(tab, "document.getElementById('try-note').innerText.includes('expected [1, 8]')")
    assert "(request " in text(tab, "#try-note")
    # Two inputs, of which one has any length.
    tab.evaluate("document.getElementById('try-model').value = 'sums'")
    tab.evaluate("document.getElementById('try-model').dispatchEvent(new Event('change'))")
    tab.evaluate("document.querySelector('[data-input=counts]').value = '[1, 2, 3]'")
    tab.evaluate("document.querySelector('[data-input=bias]').value = '0.5'")
    click(tab, "#try-send")
    until(tab, "document.querySelectorAll('#try-answer table').length === 2")
    assert "6.5" in text(tab, "#try-answer")


def test_a_token_is_asked_for(serve, models, tab):
    bundles.publish(models)
    service = serve(models, env={"OARLOCK_TOKEN": "secret"})
    service.line(event="version_live")
    tab.open(f"http://127.0.0.1:{service.port}/")
    until(tab, "!document.getElementById('token-form').hidden")
    assert tab.count("section[data-model]") == 0
    tab.evaluate("document.getElementById('token').value = 'secret'")
    click(tab, "#token-form button")
    until(tab, "document.querySelectorAll('section[data-model]').length === 1")
    assert tab.evaluate("document.getElementById('token-form').hidden")
    click(tab, "#try-fill")
    until(tab, "document.querySelector('[data-input=x]').value !== ''")
