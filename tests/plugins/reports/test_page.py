"""The page, opened in a real browser without a network: what it draws, what it answers to, what it cannot do."""

from __future__ import annotations

import json
import math
import random
import re
from html.parser import HTMLParser

import pytest

from oarlock_plugins.reports.charts import chart_data
from oarlock_plugins.reports.collect import collect
from oarlock_plugins.reports.page import write_page
from oarlock_plugins.reports.rows import make_rows
from tests.plugins.reports.browser import Browser
from tests.plugins.reports.conftest import Sweep, write_run

HOSTILE = """</script><script>document.title="owned"</script><img src=x onerror='document.title="owned"'>&lt;"'"""


def write(folder):
    found = collect(folder)
    write_page(found, make_rows(found, [], None), folder / "report.html")
    return folder / "report.html"


def hundred(folder):
    """100 trials: the best is at a learning rate of 0.01 whatever the width; five failed, ten were pruned."""
    generator = random.Random(0)
    made = Sweep(folder, {"optimizer.learning_rate": "…", "optimizer": "adam,sgd", "model.widths": "…"})
    for number in range(100):
        rate = 10 ** generator.uniform(-5, -1)
        values = {"optimizer.learning_rate": rate, "optimizer": generator.choice(["adam", "sgd"]),
                  "model.widths": generator.choice(["[32]", "[128]", "[64,64]"])}  # fmt: skip
        accuracy = 0.95 - 0.1 * (math.log10(rate) + 2) ** 2 + generator.uniform(-0.01, 0.01)
        metrics = {
            "train/loss": 1 - accuracy,
            "valid/loss": 1.1 - accuracy,
            "valid/accuracy": accuracy,
            "test/accuracy": accuracy,
        }
        status = "failed" if number % 20 == 7 else "pruned" if number % 10 == 3 else "completed"
        made.add(number, values, None if status == "failed" else metrics, status,
                 error="the loss of step 2 is nan" if status == "failed" else "", seconds=generator.uniform(1, 60))  # fmt: skip
    return made.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write(hundred(tmp_path_factory.mktemp("large") / "hundred"))


def quiet(browser, page):
    assert browser.complaints == []
    assert browser.requests == [page.resolve().as_uri()]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False)])
def test_a_hundred_trials(browser, large, width, dark):
    browser.open(large, width=width, dark=dark)
    quiet(browser, large)
    assert browser.count("#curve-chart path.run") == 95
    assert browser.count("#curve-chart path.run.best") == 1
    assert browser.count("#parallel-chart path.run") == 95
    assert browser.count("#parallel-chart .grip") == 4
    assert browser.count("#importance-chart .bar") == 3
    assert browser.count("#scatter-charts svg") == 3
    assert browser.count("#front-chart circle.front") >= 1
    assert browser.count("#ranking tbody tr") == 100
    assert browser.count(".failures li") == 5
    assert browser.count("#configs-table tbody tr") > 3
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    texts = browser.evaluate("[...document.querySelectorAll('svg text')].map((text) => text.textContent).join(' ')")
    assert "NaN" not in texts
    assert "undefined" not in texts
    assert "NaN" not in browser.evaluate("[...document.querySelectorAll('svg *')].map((one) => one.outerHTML).join()")


def test_a_text_has_contrast(browser, large):
    """Of 4.5 at least, as WCAG 2 asks for text of this size."""
    for dark in (False, True):
        browser.open(large, dark=dark)
        for name in ("--ink", "--muted", "--bad", "--link"):
            for ground in ("--card", "--page"):
                assert contrast(browser, name, ground) >= 4.5, (dark, name, ground)


def contrast(browser, *names):
    style = "getComputedStyle(document.documentElement)"
    found = []
    for name in names:
        text = browser.evaluate(f"{style}.getPropertyValue('{name}').trim()")[1:]
        text = "".join(2 * digit for digit in text) if len(text) == 3 else text
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
                  for value in (int(text[at : at + 2], 16) / 255 for at in (0, 2, 4))]  # fmt: skip
        found.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(found) + 0.05) / (min(found) + 0.05)


def test_sort_filter_and_mark(browser, large):
    browser.open(large)
    rates = "[...document.querySelectorAll('#ranking tbody tr')].map((row) => Number(row.cells[1].dataset.v))"
    browser.evaluate("document.querySelectorAll('#ranking th button')[1].click()")
    assert browser.evaluate(rates) == sorted(browser.evaluate(rates))
    assert browser.evaluate("document.querySelectorAll('#ranking th')[1].getAttribute('aria-sort')") == "ascending"
    browser.evaluate("{ const box = document.getElementById('filter'); box.value = 'failed'; "
                     "box.dispatchEvent(new Event('input')); }")  # fmt: skip
    assert browser.count("#ranking tbody tr:not([hidden])") == 5
    assert browser.evaluate("document.getElementById('filter-count').textContent") == "5 of 100"
    browser.evaluate("document.querySelector('#ranking tr[data-run=\"7\"]').click()")
    assert browser.count("#curve-chart .chosen") == browser.count("#parallel-chart .chosen") == 1
    assert browser.evaluate("document.getElementById('configs-other').value") == "7"
    browser.evaluate("{ const box = document.getElementById('curve-metric'); box.value = 'valid/loss'; "
                     "box.dispatchEvent(new Event('change')); }")  # fmt: skip
    assert browser.evaluate("document.querySelector('#curve-chart text.title').textContent") == "valid/loss"
    quiet(browser, large)


def test_dragging_along_an_axis_keeps_a_part(browser, large):
    browser.open(large, height=2600)
    box = browser.evaluate("{ const box = document.querySelectorAll('#parallel-chart .grip')[3].getBoundingClientRect(); "
                           "[box.left + box.width / 2, box.top, box.bottom] }")  # fmt: skip
    x, top, bottom = box
    browser.mouse("mousePressed", x, top + 1)
    browser.mouse("mouseMoved", x, (top + bottom) / 3)
    browser.mouse("mouseMoved", x, (top + bottom) / 2)
    browser.mouse("mouseReleased", x, (top + bottom) / 2)
    out = browser.count("#parallel-chart .out")
    assert 0 < out < 95
    assert browser.evaluate("document.getElementById('brush-count').textContent") == f"· {95 - out} of 95 points"
    browser.evaluate("document.getElementById('brush-clear').click()")
    assert browser.count("#parallel-chart .out") == 0
    quiet(browser, large)


def test_the_pointer_is_told_which_run_it_is_on(browser, large):
    browser.open(large)
    at = browser.evaluate("{ const one = document.querySelector('#curve-chart path.best'); const end = "
                          "one.getPointAtLength(one.getTotalLength()); const box = one.ownerSVGElement"
                          ".getBoundingClientRect(); [box.left + end.x, box.top + end.y] }")  # fmt: skip
    browser.mouse("mouseMoved", *at)
    best = json.loads(data(large))["runs"][0]["name"]
    assert f"{best}, place 1" in browser.evaluate("document.getElementById('tip').textContent")
    assert browser.count("#curve-chart path.hover") == 1


def test_the_console_is_heard(browser, tmp_path):
    """What the other tests rely on."""
    page = tmp_path / "bad.html"
    page.write_text("<script>console.warn('hm'); undefined.x</script><img src=https://example.org/a.png>")
    browser.open(page)
    assert len(browser.complaints) >= 2
    assert "https://example.org/a.png" in browser.requests


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def tags(page):
    parser = Tags()
    parser.feed(page.read_text())
    return parser.tags


def data(page):
    return re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1]


def test_hostile_text_is_text(browser, tmp_path):
    made = Sweep(tmp_path / "<img src=x>&'", {"note": "…", HOSTILE: "…"})
    made.add(0, {"note": HOSTILE, HOSTILE: 1}, {"valid/accuracy": 0.5, f"valid/{HOSTILE}": 1.0})
    made.add(1, {"note": "b", HOSTILE: 2}, {"valid/accuracy": 0.6})
    made.add(2, {"note": HOSTILE, HOSTILE: 3}, status="failed", error=f"line\n{HOSTILE}")
    page = write(made.close())
    found = tags(page)
    assert [tag for tag, _ in found].count("script") == 2
    assert "img" not in [tag for tag, _ in found]
    assert not any(name.startswith("on") for _, attrs in found for name in attrs)
    browser.open(page)
    quiet(browser, page)
    assert browser.evaluate("document.title").endswith("oarlock report")
    assert browser.count("img") == 0
    assert browser.count("script") == 2
    assert HOSTILE in browser.evaluate("document.querySelector('.failures pre').textContent")
    browser.evaluate("document.querySelector('#ranking tbody tr').click()")
    quiet(browser, page)


def test_nothing_is_loaded_and_links_are_relative(large):
    for tag, attrs in tags(large):
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert "src" not in attrs
        assert not re.match(r"[a-z]+:|//", attrs.get("href", "")), attrs
    style = large.read_text().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    links = [attrs["href"] for tag, attrs in tags(large) if tag == "a" and not attrs["href"].startswith("#")]
    assert len(links) > 100
    assert all((large.parent / link).exists() for link in links)


def test_importance_finds_what_decides(large):
    importance = json.loads(data(large))["importance"]
    names = [name for name, _ in importance["values"]]
    assert names[0] == "optimizer.learning_rate"
    assert importance["values"][0][1] > 0.8
    assert math.isclose(sum(value for _, value in importance["values"]), 1, abs_tol=1e-3)


@pytest.mark.parametrize("values", [(0.1, 0.5), (1, 2, 3)], ids=["two", "three"])
def test_importance_of_numbers_from_a_list_that_decide_nothing(sweep, values):
    """Each value is as frequent among the best points as among all; of what is swept over beside it, they have a part."""
    made = sweep("list", {"optimizer.learning_rate": "…", "model.dropout": "…"})
    for number in range(600):
        rate = (number // len(values) + 1) / 200
        made.add(number, {"optimizer.learning_rate": rate, "model.dropout": values[number % len(values)]},
                 {"valid/accuracy": 1 - (rate - 0.3) ** 2})  # fmt: skip
    found = collect(made.close())
    importance = dict(chart_data(found, make_rows(found, [], None), found.folder)["importance"]["values"])
    assert importance["optimizer.learning_rate"] > 0.99
    assert importance["model.dropout"] < 0.01


def test_importance_says_why_it_cannot_be_computed(sweep):
    made = sweep("few", {"optimizer.learning_rate": "…"})
    for number in range(3):
        made.add(number, {"optimizer.learning_rate": number + 1}, {"valid/accuracy": 0.5})
    found = collect(made.close())
    importance = chart_data(found, make_rows(found, [], None), found.folder)["importance"]
    assert importance["values"] == []
    assert "at least 10 points" in importance["note"]


def test_axes(large):
    axes = {axis["key"]: axis for axis in json.loads(data(large))["axes"]}
    assert axes["optimizer.learning_rate"]["kind"] == "log"
    assert axes["optimizer"] == {"key": "optimizer", "kind": "category", "values": ["adam", "sgd"]}
    assert axes["model.widths"]["values"] == ["[32]", "[64,64]", "[128]"]


def test_a_front_of_two_objectives_is_drawn(browser, sweep):
    made = sweep("front", {"optimizer.learning_rate": "…"}, objectives=[("valid/accuracy", "max"), ("seconds", "min")])
    for number, (accuracy, seconds) in enumerate([(0.9, 9), (0.8, 3), (0.7, 5), (0.6, 2)]):
        made.add(number, {"optimizer.learning_rate": number + 1}, {"valid/accuracy": accuracy}, seconds=seconds)
    page = write(made.close())
    browser.open(page)
    quiet(browser, page)
    assert browser.evaluate("document.getElementById('front-title').textContent") == "Pareto front"
    assert browser.count("#front-chart circle.front") == 3
    assert browser.count("#parallel-chart .grip") == 3


def test_a_single_run(browser, tmp_path):
    write_run(tmp_path / "run", {"train/loss": 0.2, "valid/loss": 0.3, "valid/accuracy": 0.9, "test/accuracy": 0.8})
    page = write(tmp_path / "run")
    browser.open(page)
    quiet(browser, page)
    assert browser.count("#curve-chart svg") == 2
    assert browser.evaluate("getComputedStyle(document.getElementById('table')).display") == "none"
    assert "optimizer.learning_rate" in browser.evaluate("document.getElementById('configs-same').textContent")


@pytest.mark.parametrize("status", ["failed", "running", "waiting"])
def test_a_sweep_without_any_result(browser, sweep, status):
    made = sweep("none", {"optimizer.learning_rate": "…"})
    for number in range(2):
        made.add(
            number, {"optimizer.learning_rate": number + 1}, status=status, error="no" if status == "failed" else ""
        )
    page = write(made.close())
    browser.open(page)
    quiet(browser, page)
    assert browser.count("#ranking tbody tr") == 2


def test_results_that_differ_in_their_last_bit(browser, sweep):
    made = sweep("bit", {"optimizer.learning_rate": "…"})
    for number, accuracy in enumerate((0.95, math.nextafter(0.95, 1))):
        made.add(number, {"optimizer.learning_rate": number + 1}, {"valid/accuracy": accuracy})
    page = write(made.close())
    browser.open(page)
    quiet(browser, page)
    assert browser.count("#parallel-chart path.run") == 2


def test_more_evaluations_than_a_call_takes_arguments(browser, large):
    browser.open(large)
    domain = browser.evaluate("axisOf(Array.from({ length: 300000 }, (_, index) => index)).domain")
    assert domain == [0, 299999]


def test_a_long_value_widens_no_page(browser, sweep):
    made = sweep("wide", {"note": "…"})
    for number in range(2):
        made.add(number, {"note": 400 * "x" + str(number)}, {"valid/accuracy": number / 2})
    page = write(made.close())
    browser.open(page)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_line_of_the_front_passes_what_it_dominates(browser, sweep, direction):
    """Its corners are as bad as two neighbours together, never better than both."""
    made = sweep(
        "line", {"optimizer.learning_rate": "…"}, objectives=[("valid/accuracy", "max"), ("seconds", direction)]
    )
    for number, (accuracy, seconds) in enumerate([(0.9, 9), (0.5, 2)] if direction == "min" else [(0.9, 2), (0.5, 9)]):
        made.add(number, {"optimizer.learning_rate": number + 1}, {"valid/accuracy": accuracy}, seconds=seconds)
    page = write(made.close())
    browser.open(page)
    path = browser.evaluate("document.querySelector('#front-chart .front-line').getAttribute('d')")
    assert re.sub(r"[^MHV]", "", path) == ("MHV" if direction == "min" else "MVH")


def test_what_is_no_unicode_is_written(sweep):
    made = sweep("caf\udce9", {"note": "…"})
    made.add(0, {"note": "a\ud800"}, {"valid/accuracy": 0.5})
    made.add(1, {"note": "b"}, {"valid/accuracy": 0.6})
    page = write(made.close())
    assert "a\\ud800" in page.read_text(encoding="utf-8")
