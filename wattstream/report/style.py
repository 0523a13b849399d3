"""How pictures look: few colours that colour-blind people can tell apart, in light and in dark.

Blue is what arrives, orange what is lost, dark red with a mark of its own shape what is to be worried about; all else
is grey.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

# name: (light, dark). The light ones are in the pictures; a page puts the dark ones in their place.
COLOURS = {
    "ground": ("#fefefe", "#14181d"),
    "ink": ("#1b2430", "#e6eaf0"),
    "faint": ("#5d6875", "#9aa6b2"),
    "grid": ("#e3e7ec", "#2b323b"),
    "dc": ("#2a7ab8", "#4b9fdd"),
    "lost": ("#f0a202", "#f2b134"),
    "bad": ("#b3261e", "#ff7b6b"),
    "tint": ("#f6dedc", "#372120"),
}
GROUND, INK, FAINT, GRID, DC, LOST, BAD, TINT = (light for light, _ in COLOURS.values())

_SETTINGS: Any = {
    "figure.facecolor": GROUND,
    "axes.facecolor": "none",
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.unicode_minus": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "wattstream",  # the same picture is the same bytes
    "text.color": INK,
    "text.parse_math": False,  # a $ in a note is a $
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style inside, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def bare(axes: Axes, *, grid: str = "both") -> None:
    """Leave only what helps reading: faint lines, no frame."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis=grid, color=GRID, linewidth=0.7)  # type: ignore[arg-type]


def titled(axes: Axes, text: str) -> None:
    """Write what a panel shows above it, at the left."""
    axes.set_title(text, loc="left", fontsize=9.5, fontweight="bold", pad=6)
