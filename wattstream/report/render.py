"""Pictures as bytes: PNG, and SVG to be put into a page."""

import io
import re

from matplotlib.figure import Figure

from wattstream.report import figures, style
from wattstream.report.content import FleetReport, VehicleReport

_DPI = 150
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def png(report: VehicleReport | FleetReport) -> bytes:
    """Return a picture that stands alone, as PNG."""
    with style.applied():
        buffer = io.BytesIO()
        _draw(report, heading=True).savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()


def svg(report: VehicleReport | FleetReport) -> str:
    """Return the picture without its heading, as an SVG element whose colours are those of the page around it."""
    with style.applied():
        buffer = io.StringIO()
        _draw(report, heading=False).savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    opening, rest = text.split(">", 1)
    size = re.search(r'viewBox="[^"]*"', opening)
    return f'<svg {size[0] if size else ""} role="img" aria-label="chart">' + _themed(rest)


def _themed(text: str) -> str:
    for name, (light, _) in style.COLOURS.items():
        text = text.replace(light, f"var(--{name})")
    return text.replace("xlink:href", "href")


def _draw(report: VehicleReport | FleetReport, *, heading: bool) -> Figure:
    if isinstance(report, VehicleReport):
        return figures.vehicle(report, heading=heading)
    return figures.fleet(report, heading=heading)
