import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bids_core.report.figure_lines import Histogram, Line, histograms, line_chart, step_lines
from bids_core.report.figure_shares import stacked_shares
from bids_core.report.figures import Dot, DotRow, Panel, dot_plot, instance_panels
from bids_core.report.names import MARKERS, Look, method_looks, series_looks
from bids_core.report.svg import NARROW, WIDE, Scale, marker, padded, tag, tick_label

SVG = "{http://www.w3.org/2000/svg}"


def test_elements_are_escaped():
    assert tag("text", '<b>"', x=1.0, class_="a&b", gone=None) == (
        '<text x="1" class="a&amp;b">&lt;b&gt;&#34;</text>'
    )


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.07, 0.31), (3, 3000), (1e-7, 2e-7)])
def test_ticks_are_round_and_within(low, high, count):
    ticks = Scale(low, high, 0, 100).ticks(count)
    assert 1 <= len(ticks) <= count + 1
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    np.testing.assert_allclose(np.diff(ticks), np.diff(ticks)[:1].repeat(len(ticks) - 1))


def test_tick_labels():
    assert tick_label(-0.5, 0.25) == "\N{MINUS SIGN}0.50"
    assert tick_label(2.5, 2.5) == "2.5"
    assert tick_label(20, 10) == "20"
    assert tick_label(-1e-17, 0.1) == "0.0"
    assert tick_label(2e-5, 1e-5) == "2e\N{MINUS SIGN}5"


def test_padded_ranges():
    low, high = padded([1.0, float("nan"), 3.0])
    assert low < 1.0 < 3.0 < high
    assert padded([2.0, 2.0]) == pytest.approx((1.44, 2.56))
    assert padded([0.0, 1.0], zero=True)[0] == 0.0
    assert padded([]) == pytest.approx((-0.06, 1.06))


def coordinates(drawing):
    """Return all coordinates, to see that nothing lies outside and nothing is NaN."""
    root = ET.fromstring(drawing)  # noqa: S314 - our own drawing
    width, height = map(float, root.get("viewBox").split()[2:])
    for element in root.iter():
        for key, limit in (
            ("x", width),
            ("x1", width),
            ("cx", width),
            ("y", height),
            ("cy", height),
        ):
            if element.get(key) is not None:
                assert -1 <= float(element.get(key)) <= limit + 1
    assert "nan" not in drawing
    return root


def test_dot_plot_places_scores_on_one_scale():
    hollow = Look("red", hollow=True)
    dots = [Dot("A", 0.0, (0.0, 0.3), Look("blue")), Dot("B", 1.0, (0.7, 1.0), hollow)]
    root = coordinates(dot_plot([DotRow("a task", dots, mark=0.5)], label="x", axis="score"))
    xs = [float(circle.get("cx")) for circle in root.iter(f"{SVG}circle")]
    assert xs[0] < xs[1]
    assert root.get("aria-label") == "x"


def test_instance_panels_draw_a_bar_an_instance():
    tasks, looks = ["b", "a", "b"], {"a": Look("red"), "b": Look("blue")}
    panels = [Panel(name, np.array([0.1, -0.2, 0.3])) for name in ("p", "q", "r")]
    root = coordinates(
        instance_panels(
            panels, tasks=tasks, looks=looks, instances=["i", "j", "k"], label="", axis="AID"
        )
    )
    bars = list(root.iter(f"{SVG}rect"))
    assert len(bars) == 9
    groups = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}rect") is not None]
    found = [(group.get("style"), len(list(group))) for group in groups[:2]]
    assert found == [("fill:blue", 2), ("fill:red", 1)]


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_stacked_shares_end_at_the_final_shares(count):
    names = ["a" if i % 4 else "b" for i in range(count)]
    drawing = stacked_shares(
        names, looks={"a": Look("red"), "b": Look("blue")}, order=["a", "b"], label="", axis="k"
    )
    root = coordinates(drawing)
    titles = [title.text for title in root.iter(f"{SVG}title")]
    share = 100 * names.count("a") / count
    assert titles[0] == f"a: {share:.1f}% of all picks"


def test_step_lines_mark_each_checkpoint():
    root = coordinates(step_lines([2.0, 1.0, 0.5], [0.1, 0.2, 0.0], [0, 0, 1], label="warmup"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "checkpoint 1" in texts
    assert "checkpoint 2" in texts


def test_step_lines_of_a_single_step():
    coordinates(step_lines([2.0], [0.1], [0], label="warmup"))


def test_no_two_names_look_the_same_and_eight_share_nothing():
    looks = list(series_looks(map(str, range(64))).values())
    assert len(set(looks)) == 64
    assert len({look.colour for look in looks[:8]}) == len({look.marker for look in looks[:8]}) == 8
    methods = ["zero_shot", "bids", "less", "random", "sum", "quota", "dsir", "rds", "knn_uniform"]
    found = method_looks([*methods, *(f"own.py:m{i}" for i in range(12))])
    assert len(set(found.values())) == 21
    assert found["zero_shot"].hollow
    assert found["bids"].colour == "var(--blue)"


@pytest.mark.parametrize("shape", MARKERS)
def test_every_marker_stays_near_its_place(shape):
    drawn = str(marker(Look("red", shape), 10.0, 10.0, 4.0))
    numbers = [float(n) for n in re.findall(r"[\d.]+", drawn.partition("style")[0]) if n != "."]
    assert all(4 <= number <= 16 for number in numbers)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_drawings_stay_inside_at_both_widths(width):
    looks = series_looks(["a long name of a task", "b"])
    dots = [Dot("method one", 0.4, (0.1, 0.9), look) for look in looks.values()]
    rows = [DotRow("a long name of a task", dots, mark=0.97)]
    for named in (False, True):
        coordinates(dot_plot(rows, label="", axis="x", width=width, named=named))
    panels = [Panel(str(i), np.array([1.0, -2.0])) for i in range(5)]
    names = list(looks)
    coordinates(
        instance_panels(
            panels, tasks=names, looks=looks, instances=names, label="", axis="", width=width
        )
    )
    coordinates(
        stacked_shares(names * 50, looks=looks, order=names, label="", axis="", width=width)
    )
    coordinates(step_lines([3.0, 2.0], [0.1, 0.1], [0, 1], label="", width=width))
    points = [(float(i), float(i % 7)) for i in range(5000)]
    lines = [Line(name, points, look) for name, look in looks.items()]
    coordinates(line_chart(lines, label="", x_axis="pick", y_axis="utility", width=width))
    drawn = [Histogram("v" * 60, "skewed", [1, 5, 2], [1.0, 3.0, 1.0]) for _ in range(5)]
    coordinates(histograms(drawn, label="", width=width))


def test_a_thinned_line_keeps_its_extremes():
    points = [(float(i), 9.0 if i == 4321 else -7.0 if i == 17 else 0.0) for i in range(10_000)]
    drawn = line_chart([Line("a", points, Look("red"))], label="", x_axis="", y_axis="")
    ys = [float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", str(drawn))]
    flat = max(set(ys), key=ys.count)
    assert min(ys) < flat < max(ys)
