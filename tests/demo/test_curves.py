from xml.etree import ElementTree as ET

import pytest

from demo import curves


def drawn(text):
    return ET.fromstring(text)  # noqa: S314 - our own drawing


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.43, 0.51, [0.42, 0.44, 0.46, 0.48, 0.5, 0.52]),
        (-1.0, 1.0, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (0.0, 97.0, [0.0, 50.0, 100.0]),
    ],
)
def test_ticks_are_round_numbers_around_the_data(low, high, expected):
    assert curves.ticks_between(low, high) == expected


def test_a_flat_line_still_gets_an_axis():
    low, high = curves.ticks_between(0.5, 0.5)
    assert low <= 0.5 <= high
    drawn(curves.curve(title="t", description="d", lines=[curves.Line("a", "federated", [0.5, 0.5])]))


def test_labels_do_not_cover_each_other_and_keep_their_order():
    placed = curves.spread_labels([100.0, 102.0, 40.0])
    assert placed[2] == 40.0
    assert placed[1] - placed[0] >= curves.LABEL_GAP


def test_a_curve_has_a_point_for_each_version():
    chart = drawn(
        curves.curve(
            title="t",
            description="d",
            lines=[curves.Line("naive", "naive", [0.4]), curves.Line("federated", "federated", [0.4, 0.45, 0.5])],
        )
    )
    assert len(chart.findall("circle")) == 3
    naive, federated = chart.findall("polyline")
    heights = [float(point.split(",")[1]) for point in federated.attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)
    assert len({point.split(",")[1] for point in naive.attrib["points"].split()}) == 1


def test_a_chart_says_what_it_shows_to_those_who_do_not_see_it():
    chart = drawn(curves.curve(title="T", description="D", lines=[curves.Line("a", "federated", [1.0, 2.0])]))
    assert chart.attrib["role"] == "img"
    assert (chart.findtext("title"), chart.findtext("desc")) == ("T", "D")


def test_gains_and_losses_point_away_from_zero():
    chart = drawn(curves.bars(title="t", description="d", entries=[curves.Bar("a", 0.2), curves.Bar("b", -0.1)]))
    gain, loss = chart.findall("rect")
    zero = float(chart.find("line").attrib["x1"])
    assert (gain.attrib["class"], loss.attrib["class"]) == ("gain", "loss")
    assert float(gain.attrib["x"]) == pytest.approx(zero, abs=0.2)
    assert float(loss.attrib["x"]) + float(loss.attrib["width"]) == pytest.approx(zero, abs=0.2)


def test_one_client_alone_can_be_drawn():
    drawn(curves.bars(title="t", description="d", entries=[curves.Bar("a", 0.2)]))


def test_names_are_escaped():
    assert "<b>" not in curves.bars(title="<b>", description="<b>", entries=[curves.Bar("<b>", 0.1)])
