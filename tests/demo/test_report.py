import dataclasses
import re
from html.parser import HTMLParser

import pytest

from demo import report, summary
from demo.outcome import Refusal


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_the_page_needs_nothing_else(outcome):
    page = Page(report.report(outcome))
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in {"src", "href"}]
    assert addresses == ["data:,"]
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert "url(" not in report.report(outcome)


def test_the_page_leads_with_the_margin_over_local_only(outcome):
    page = Page(report.report(outcome))
    headline = page.text.index("lower squared error than alone; 11 of 12 gained")
    assert headline < page.text.index("Round by round")


def test_the_page_has_both_curves_and_a_bar_for_each_client(outcome):
    tags = Page(report.report(outcome)).tags
    assert len([tag for tag, attributes in tags if tag == "svg" and attributes["role"] == "img"]) == 3
    assert len([tag for tag, attributes in tags if tag == "circle"]) == 2 * 4
    assert len([tag for tag, _ in tags if tag == "rect"]) == 12


def test_the_page_names_who_lost_as_well(outcome):
    text = Page(report.report(outcome)).text
    assert "1 did better alone" in text
    assert "-5.0%" in text


def test_the_page_names_the_refused(outcome):
    text = Page(report.report(outcome)).text
    assert "misfit-nan sends weights that are not numbers. Refused in 3 of 3 rounds: not_finite" in text


def test_a_run_without_misbehaviour_says_so(outcome):
    outcome.refusals = []
    assert "Nobody misbehaved" in report.report(outcome)


def test_text_is_escaped(outcome):
    outcome.refusals = [Refusal("<script>alert(1)</script>", "a & b", 1, "x")]
    assert "<script>" not in report.report(outcome)
    assert "a &amp; b" in report.report(outcome)


def test_every_column_has_a_scope_and_every_table_a_caption(outcome):
    tags = Page(report.report(outcome)).tags
    assert all(attributes.get("scope") in {"col", "row"} for tag, attributes in tags if tag == "th")
    assert len([tag for tag, _ in tags if tag == "caption"]) == len([tag for tag, _ in tags if tag == "table"])


def luminance(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_colour_has_the_contrast_of_wcag_aa(scheme):
    block = re.findall(r":root \{(.*?)\}", report.PAGE.read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
    for name in ("text", "quiet", "federated", "local", "naive"):
        assert contrast(colours[name], colours["page"]) >= 4.5, name
    assert contrast(colours["quiet"], colours["panel"]) >= 4.5


def test_the_report_is_written_where_it_was_asked_for(outcome, tmp_path):
    report.write_report(outcome, tmp_path / "there.html")
    assert (tmp_path / "there.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_summary_leads_with_the_margin_and_the_gained(outcome):
    first = summary.summary_lines(outcome)[0]
    assert re.fullmatch(
        r"Together the clients forecast with \d+\.\d% lower squared error than alone; 11 of 12 gained\.", first
    )


def test_a_loss_is_not_called_a_gain(outcome):
    worse = dataclasses.replace(outcome.lines[-1].scores, errors=tuple(2 * e for e in outcome.local_only.errors))
    outcome.lines.append(dataclasses.replace(outcome.lines[-1], scores=worse))
    assert "100.0% higher squared error than alone; 0 of 12 gained" in summary.headline(outcome)


def test_the_summary_names_the_refused(outcome):
    assert any(line.startswith("Refused: misfit-nan") for line in summary.summary_lines(outcome))
