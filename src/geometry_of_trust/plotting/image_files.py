"""Pages of panels, as PNG or SVG bytes: what needs matplotlib itself.

The same values give the same bytes, with one version of matplotlib.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_of_trust.errors import BadOption
from geometry_of_trust.extras import optional
from geometry_of_trust.files import PathLike
from geometry_of_trust.terminal import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

SUFFIXES = {".png": "png", ".svg": "svg"}
DPI = 120
_WIDE, _HIGH = 5.2, 4.0
"""Inches of a panel."""

_STYLE: dict[RcKeyType, str | float] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "geometry-of-trust",
    "hatch.linewidth": 0.6,
}


def check_picture(path: PathLike) -> None:
    """Refuse what cannot be pictured, before the work.

    Raises:
        BadOption: a name that ends neither in .png nor in .svg. MissingExtra: no matplotlib.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise BadOption("--plot", expected="a name that ends in .png or .svg", found=path)
    with optional():
        import matplotlib.figure  # noqa: F401, PLC0415 - heavy, and of an extra


@dataclass
class Page:
    """A figure whose panels are taken in turn; its bytes once it is done."""

    figure: Figure
    axes: list[Axes]
    data: bytes = b""

    def panel(self) -> Axes:
        """The next panel; there are as many as `page` was asked for."""
        return self.axes.pop(0)


@contextlib.contextmanager
def page(path: PathLike, down: int, across: int = 2, wide: float = _WIDE) -> Iterator[Page]:
    """A page of panels, drawn by our own settings; its `data` are there once the block ends.

    Args:
        path: says the kind of picture. down, across: panels. wide: inches of one.

    Raises:
        BadOption, MissingExtra: as `check_picture`.
    """
    check_picture(path)
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and of an extra
    from matplotlib import style  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415 - as above
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - as above

    kind = SUFFIXES[Path(path).suffix.lower()]
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with style.context("default"), mpl.rc_context(_STYLE):  # whatever the user's settings are
        figure = Drawing(
            figsize=(wide * across, _HIGH * down),
            layout=ConstrainedLayoutEngine(h_pad=0.15, w_pad=0.1),
        )
        drawn = Page(figure, list(figure.subplots(down, across, squeeze=False).flat))
        yield drawn
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        drawn.data = buffer.getvalue()


def plain(text: str) -> str:
    """Untrusted text for a picture: characters that the font lacks become escapes."""
    from matplotlib import font_manager  # noqa: PLC0415 - heavy, and of an extra

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    known = font.get_charmap()
    return "".join(
        c if ord(c) in known else c.encode("unicode_escape").decode() for c in escaped(text, 60)
    )
