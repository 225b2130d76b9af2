from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from bids_core.report.pictures import pictures

SVG = "{http://www.w3.org/2000/svg}"


def test_the_main_figures_stand_alone_as_well_formed_svg(inputs):
    made = pictures(inputs)
    assert set(made) == {"scores", "influence", "picks"}
    for svg in made.values():
        root = ElementTree.fromstring(svg)  # noqa: S314 - our own
        assert root.tag == f"{SVG}svg"
        assert float(root.get("width")) > float(root.get("height")) / 4
        style = root.find(f"{SVG}style").text
        assert "--blue: #0072b2" in style  # the light theme's
        assert "svg .axis" in style
        assert "@media" not in style
