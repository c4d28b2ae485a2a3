"""The report: whole, safe, honest, and the same for the same results."""

import base64
import copy
import doctest
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.evaluate import report_plots
from system2.evaluate.report import latex_table, render_report
from system2.evaluate.report_plots import escape, log_ticks, nice_ticks, spread
from system2.evaluate.report_results import METHODS, headline, read_results
from system2.evaluate.report_style import SCRIPT, STYLE, TONES

DECODINGS = ("greedy", "sample", "majority@4", "majority@20")
VOID = {"meta", "br", "hr", "img", "link", "input"}


def row(method, decoding, accuracy, **change):
    found = {
        "method": method,
        "decoding": decoding,
        "n": 500,
        "accuracy": accuracy,
        "low": accuracy - 0.043,
        "high": accuracy + 0.041,
        "sampled_tokens": 23_450,
        "cost_ratio": 1.0,
    }
    return found | change


def pair(a, b, decoding, difference, half):
    low, high = difference - half, difference + half
    return {
        "a": a,
        "b": b,
        "decoding": decoding,
        "difference": difference,
        "low": low,
        "high": high,
    }


@pytest.fixture
def results():
    rows = [
        row(method, decoding, 0.4 + 0.011 * i + 0.023 * j, cost_ratio=1 + i / 10)
        for i, method in enumerate(METHODS)
        for j, decoding in enumerate(DECODINGS)
    ]
    return {
        "rows": rows,
        "paired": [
            pair("llm2_shared", "plain", "greedy", 0.004, 0.02),
            pair("llm2_shared", "plain", "sample", 0.062, 0.02),
            pair("plain", "llm2_shared", "majority@4", 0.033, 0.02),
            pair("llm2_shared", "plausible_only", "sample", -0.001, 0.02),
        ],
        "manifest": {"policy": "tiny", "commit": "3fe21ab", "versions": {"numpy": "2"}},
        "chosen": "llm2_shared",
        "notes": ["beta was chosen on the validation split"],
        "examples": [
            {
                "prompt": "What is 3 times 12?",
                "answer": "36",
                "sides": [
                    {"method": "plain", "decoding": "greedy", "grade": False, "text": "3 + 12"},
                    {
                        "method": "llm2_shared",
                        "decoding": "greedy",
                        "grade": True,
                        "tokens": [
                            {"text": "3", "value": 1.5},
                            {"text": " *", "value": -2, "changed": True, "instead": " +"},
                            {"text": " 12", "value": 0.5},
                            {"text": "."},
                        ],
                    },
                ],
            }
        ],
    }


class Page(HTMLParser):
    """Reads a page strictly: every element that opens closes, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def cells(page_text):
    """Return the plain text of each row of each table of a page."""
    return [
        [
            re.sub(r"<[^>]+>", " ", cell).strip()
            for cell in re.findall(r"<t[dh][^>]*>(.*?)</t", line)
        ]
        for line in re.findall(r"<tr[^>]*>(.*?)</tr>", page_text)
    ]


def test_doctests():
    assert doctest.testmod(report_plots).failed == 0


def test_the_page_is_well_formed_and_holds_every_row(results):
    text = render_report(results)
    page = Page(text)
    assert page.tags.count("svg") == 4 + 3 + 1 + 1
    lines = cells(text)
    for entry in results["rows"]:
        label = METHODS[entry["method"]][0]
        numbers = [f"{100 * entry[key]:.1f}" for key in ("accuracy", "low", "high")]
        assert any(line[0] == label and line[3:6] == numbers for line in lines), entry
    assert sum("no measurable difference" in line[-1] for line in lines) == 2


def test_tokens_are_shown_a_problem(results):
    assert ">46.9<" in render_report(results)


def test_the_page_loads_nothing_and_runs_only_its_own_script(results):
    text = render_report(results)
    outside = re.findall(r"(?:https?:)?//[a-z][^\s\"'<]*", text.replace(SCRIPT, ""))
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", STYLE)
    assert "://" not in SCRIPT + STYLE
    page = Page(text)
    assert {name for name, _ in page.attributes} & {"src", "href", "onclick", "onload"} == set()
    policy = next(value for name, value in page.attributes if name == "content")
    scripts = "".join(data for tag, data in page.texts if tag == "script")
    digest = base64.b64encode(hashlib.sha256(scripts.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def hostile(value):
    """Return results with every text replaced by an attack that keeps the text after it."""
    attack = "</style></script><script>alert(1)</script><img src=x onerror=y>\"'&\x00\u202e\ud800"
    if isinstance(value, str):
        return attack + value
    if isinstance(value, dict):
        return {key: hostile(entry) for key, entry in value.items()}
    return [hostile(entry) for entry in value] if isinstance(value, list) else value


def test_no_text_of_the_results_becomes_markup(results):
    calm = Page(render_report(results))
    attacked = hostile(results)
    attacked["manifest"]["<script>"] = "<b>"
    text = render_report(attacked, title="<script>alert(2)</script>")
    page = Page(text)
    assert "alert(1)" in "".join(data for _, data in page.texts)
    assert page.tags.count("script") == 1
    assert set(page.tags) <= set(calm.tags)
    assert {name for name, _ in page.attributes} == {name for name, _ in calm.attributes}
    assert not any("alert" in data for tag, data in page.texts if tag in ("script", "style"))
    assert re.search("[\x00\u202e\ud800]", text) is None
    text.encode()


@given(st.text())
def test_escaped_text_is_only_text(text):
    page = Page(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert page.tags == ["p"]
    assert [name for name, _ in page.attributes] == ["title"]
    escape(text).encode()


def test_the_same_results_give_the_same_page(results):
    again = json.loads(json.dumps(results))
    assert render_report(results) == render_report(again)


def test_rendering_changes_nothing_it_is_given(results):
    before = copy.deepcopy(results)
    render_report(results)
    assert results == before


def test_the_headline_says_what_the_intervals_say(results):
    against_plain, against_set, *_ = headline(read_results(results))
    assert "right more often than plain decoding when sampled at T = 1 (by 6.2 points)" in (
        against_plain
    )
    assert "no measurable difference from it greedily" in against_plain
    assert "right less often than it by majority of 4 (by 3.3 points)" in against_plain
    assert against_set.count("no measurable difference") == 1
    assert "more often" not in against_set


@given(st.floats(-0.9, 0.9), st.floats(0, 0.1))
def test_only_an_interval_off_zero_is_a_difference(difference, half):
    entry = pair("llm2_vocab", "plain", "greedy", difference, half)
    rows = [row("llm2_vocab", "greedy", 0.5), row("plain", "greedy", 0.5)]
    sentence = headline(read_results({"rows": rows, "paired": [entry]}))[0]
    crosses = entry["low"] <= 0 <= entry["high"]
    assert ("no measurable difference" in sentence) == crosses
    assert ("more often" in sentence) == (entry["low"] > 0)
    assert ("less often" in sentence) == (entry["high"] < 0)


def test_a_layout_chosen_on_the_shown_problems_is_said_to_be(results):
    assert not any("flatters" in line for line in headline(read_results(results)))
    del results["chosen"]
    read = read_results(results)
    assert read.chosen == "llm2_vocab"
    assert any("flatters" in line for line in headline(read))


def test_results_without_a_verifier_or_pairs_still_report():
    text = render_report({"rows": [row("plain", "greedy", 0.5)]})
    Page(text)
    assert "No LLM2 method" in text
    assert "Figure 2." not in text
    alone = {"rows": [row("llm2_vocab", "greedy", 0.5)]}
    assert "No paired comparison" in headline(read_results(alone))[0]


def test_two_equal_methods_are_drawn_at_zero():
    rows = [row("llm2_vocab", "greedy", 0.5), row("plain", "greedy", 0.5)]
    same = pair("llm2_vocab", "plain", "greedy", 0.0, 0.0)
    text = render_report({"rows": rows, "paired": [same]})
    Page(text)
    assert "LLM2 vocab \u2212 Plain: 0.0 [0.0, 0.0]" in text
    assert "no measurable difference from plain decoding" in text


def test_a_method_nobody_foresaw_is_drawn(results):
    results["rows"].append(row("my <method>", "beam", 0.6))
    text = render_report(results)
    assert "my &lt;method&gt;: 60.0 [55.7, 64.1]" in text


def test_costs_that_differ_by_decoding_get_a_bar_each():
    rows = [row("plain", "greedy", 0.5), row("plain", "sample", 0.5, cost_ratio=1.5)]
    text = render_report({"rows": rows})
    assert text.count('class="bar"') == 2
    rows[1]["cost_ratio"] = 1.005
    assert render_report({"rows": rows}).count('class="bar"') == 1


def test_what_is_unknown_is_a_dash_and_not_a_zero():
    unknown = dict.fromkeys(("accuracy", "low", "high", "sampled_tokens", "cost_ratio"))
    rows = [row("plain", "beam", 0.5), row("my method", "beam", 0.5) | unknown]
    text = render_report({"rows": rows})
    line = next(line for line in cells(text) if line[:2] == ["my method", "Beam"])
    assert line[3:] == ["\u2013"] * 5
    Page(render_report({"rows": rows[1:]}))


def test_examples_mark_changes_and_tint_doubt(results):
    text = render_report(results)
    assert '<mark title="value -2.000"> *<s> +</s></mark>' in text
    assert '<span style="--d:0.00" title="value 1.500">3</span>' in text
    assert '<span style="--d:0.29" title="value 0.500"> 12</span>.' in text


def test_latex_has_every_method_and_escapes():
    rows = [row("50%_&{x}", "greedy", 0.5), row("plain", "sample", 0.25)]
    table = latex_table(read_results({"rows": rows}))
    assert r"50\%\_\&\{x\} & 50.0 {\scriptsize [45.7, 54.1]} & -- \\" in table
    assert r"Plain & -- & 25.0" in table
    assert table.startswith(r"\begin{tabular}{lrr}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 1.2}, "row 1: not 0 <= low <= accuracy <= high <= 1"),
        ({"low": None}, "row 1: not 0 <= low <= accuracy <= high <= 1, nor all three null"),
        ({"n": 0}, "row 1: n is 0"),
        ({"accuracy": float("nan")}, "row 1: accuracy is nan"),
        ({"accuracy": "much"}, "row 1: accuracy is 'much'"),
        ({"method": 3}, "row 1: 'method' is missing or not a text"),
        ({"sampled_tokens": -1}, "row 1: sampled_tokens is negative"),
    ],
)
def test_a_bad_row_is_named(change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        render_report({"rows": [row("plain", "greedy", 0.5) | change]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "no rows"),
        ({"rows": 3}, "'rows' in the results is not a list"),
        ({"paired": [1]}, "'paired' in the results: entry 1 is not an object"),
        ({"chosen": "mine"}, "the chosen method 'mine' has no row"),
        ({"paired": [pair("a", "b", "greedy", 0.0, 0.1) | {"low": 0.5}]}, "pair 1: not -1 <="),
        ({"paired": [{"a": "x"}]}, "pair 1: 'low' is missing"),
    ],
)
def test_bad_results_are_refused(results, change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        render_report(results | change)


def test_a_row_twice_is_refused(results):
    results["rows"].append(results["rows"][0])
    with pytest.raises(UserError, match="plain under greedy twice"):
        render_report(results)


def test_every_known_method_has_a_tone_in_both_themes():
    assert set(TONES) == set(METHODS)
    assert len(set(TONES.values())) == len(TONES)
    for number in range(8):
        assert STYLE.count(f"--t{number}: #") == 2


@given(st.floats(-1e4, 1e4), st.floats(0, 1e4), st.integers(2, 8))
def test_nice_ticks_enclose_evenly(low, span, count):
    ticks = nice_ticks(low, low + span, count)
    assert ticks[0] <= low + 1e-6 * (1 + abs(low))
    assert ticks[-1] >= low + span - 1e-6 * (1 + abs(low) + span)
    steps = [b - a for a, b in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)
    assert 2 <= len(ticks) <= 2 * count + 2


@given(st.floats(1e-3, 1e9), st.floats(2.51, 1e6))
def test_log_ticks_lie_within_and_are_some(low, factor):
    ticks = log_ticks(low, low * factor)
    assert ticks
    assert all(low <= tick <= low * factor for tick in ticks)
    assert all(1.9 < b / a < 2.6 for a, b in pairwise(ticks))


@given(st.lists(st.floats(0, 300), max_size=12), st.floats(1, 20))
def test_spread_labels_keep_order_and_distance(places, gap):
    moved = spread(places, gap, 0, 300)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    for i, j in pairwise(order):
        assert moved[j] - moved[i] >= gap - 1e-6
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in moved)
    far = [40.0 * i for i in range(len(places))][:8]
    assert spread(far, gap, 0, 300) == pytest.approx(far)
