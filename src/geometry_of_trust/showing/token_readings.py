"""A text with its readings, as lines, as pieces to colour, and as HTML.

Tokens are untrusted: control and direction characters become escapes, markup becomes text.
A reading is shown three times over: as a shade, which grows darker with the probability and so
reads in black and white; as a tenth; and as a number.
"""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import TYPE_CHECKING

from geometry_of_trust.documents.strictjson import shortest_float32
from geometry_of_trust.showing.text import as_json
from geometry_of_trust.terminal import bare_or_quoted, escaped_prose, quoted, quoted_prose

if TYPE_CHECKING:
    from geometry_of_trust.probing.probe_readings import Reading
    from geometry_of_trust.probing.token_readings import ProbeReadings, TextReadings, TokenText

_BAR = 20
_DARKEST = (222, 132, 30)
"""Of the shades from white; black text on it has a contrast of 7 and more."""

_TENTHS = "₀₁₂₃₄₅₆₇₈₉"


def shown(token: TokenText) -> str:
    """A token on one line; blanks stay blanks."""
    return "?" if token.text is None else escaped_prose(token.text)


def shade(p: float) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255: white at 0, darker with p."""
    red, green, blue = (round(255 - p * (255 - end)) for end in _DARKEST)
    return red, green, blue


def tenth(p: float) -> str:
    """The tenth that p is in, as a small digit."""
    return _TENTHS[min(9, int(10 * p))]


def title(read: TextReadings, probe: ProbeReadings) -> str:
    """What is read, where, and how far to trust it."""
    verdict = f"; by its card {probe.verdict}" if probe.verdict else ""
    verdict += "; of unknown training" if read.unknown_training else ""
    if (own := probe.thresholds) is not None:
        above = shortest_float32(own.one_percent)
        verdict += f"; its threshold for {own.share} {own.on}: logit above {above}"
    return (
        f"layer {read.layer}, text {read.text}{verdict}: {quoted(probe.dimension)} "
        f"of {bare_or_quoted(read.model_id)}"
    )


LEGEND = (
    "small digits: tenths of the probability, 0 to 9; * below the probe's threshold of "
    "reliability; + above its threshold for false "
    "positives; ! far outside of what the probe was fitted on; ? other tokens than it was "
    "trained on, of which its probability says nothing"
)


def pieces(read: TextReadings, probe: ProbeReadings) -> list[tuple[str, Reading]]:
    """The running text: each token with its tenth, and its reading to colour it by."""
    return [
        (f"{shown(token)}{tenth(reading.confidence)}", reading)
        for token, reading in zip(read.tokens, probe.readings, strict=True)
    ]


def lines(read: TextReadings, probe: ProbeReadings) -> list[str]:
    """A token a line: position, probability, a bar from 0 to 1, the token."""
    table = ["  row  probability    0" + " " * (_BAR - 2) + "1   token"]
    for token, reading in zip(read.tokens, probe.readings, strict=True):
        filled = round(_BAR * reading.confidence)
        flag = "".join(
            mark if so else " "
            for mark, so in (
                ("*", reading.flagged),
                ("+", probe.above(reading)),
                ("!", reading.outside),
                ("?", token.other),
            )
        )
        text = "?" if token.text is None else quoted_prose(token.text)
        table.append(
            f"{token.row:>5}  {reading.confidence:>10.3f}{flag}  "
            f"{'#' * filled}{'.' * (_BAR - filled)}  {text}"
        )
    if probe.whole is not None:
        table.append(_whole(read, probe, probe.whole))
    return table


def _whole(read: TextReadings, probe: ProbeReadings, whole: Reading) -> str:
    """What a probe says of the whole text."""
    notes = [
        note
        for note, so in (
            ("below the probe's threshold of reliability", whole.flagged),
            ("far outside of what the probe was fitted on", whole.outside),
            ("of other tokens of a text than it was trained on", read.other_text),
        )
        if so
    ]
    said = f"p = {whole.confidence:.3f}, logit = {shortest_float32(whole.raw)}"
    if probe.thresholds is not None:
        notes.append(probe.thresholds.said_of(whole.raw))
    noted = f" ({'; '.join(notes)})" if notes else ""
    return f"the text, {bare_or_quoted(read.aggregate or '')} of its logits: {said}{noted}"


def readings_json(read: TextReadings) -> str:
    """What `read --json` prints."""
    return as_json(asdict(read))


# --- HTML -------------------------------------------------------------------------------------

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Readings</title>
<style>
body { font: 16px/1.3 sans-serif; margin: 2em; max-width: 60em; color: #000; background: #fff }
h1 { font-size: 1.1em; margin: 2em 0 0.5em }
p { margin: 0.5em 0 }
.t { display: inline-block; margin: 0 1px 6px 0; padding: 1px 2px; text-align: center;
  white-space: pre; border-bottom: 2px solid #000 }
.t i { display: block; font: 11px/1.2 monospace }
.f { border-bottom: 2px dotted #000 }
.o { opacity: 0.45 }
</style>
</head>
<body>
"""


def page(read: TextReadings) -> str:
    """A page that stands alone: no script, nothing fetched; the same readings, the same text."""
    key = "".join(
        f'<span class="t" style="background:{_css(p / 4)}">p<i>{p / 4:.2f}</i></span>'
        for p in range(5)
    )
    parts = [
        _HEAD,
        f"<p>{key} probability; <span class='t f'>dotted<i>line</i></span> below the probe's "
        "threshold of reliability; <span class='t o'>pale<i>text</i></span> other tokens than "
        "trained on, or far outside of what was fitted</p>\n",
    ]
    for probe in read.probes:
        parts.append(f"<h1>{html.escape(title(read, probe))}</h1>\n<p>\n")
        parts += [
            _span(token, reading, above=probe.above(reading))
            for token, reading in zip(read.tokens, probe.readings, strict=True)
        ]
        parts.append("</p>\n")
        if probe.whole is not None:
            parts.append(f"<p>{html.escape(_whole(read, probe, probe.whole))}</p>\n")
    return "".join([*parts, "</body>\n</html>\n"])


def _css(p: float) -> str:
    return "#" + "".join(f"{part:02x}" for part in shade(p))


def _span(token: TokenText, reading: Reading, *, above: bool) -> str:
    p = reading.confidence
    flagged = " f" if reading.flagged else ""
    line = "<br>\n" if token.text is not None and "\n" in token.text else "\n"
    told = f"row {token.row}: p = {shortest_float32(p)}, logit = {shortest_float32(reading.raw)}"
    told += ", above the probe's threshold" if above else ""
    told += ", far outside of what the probe was fitted on" if reading.outside else ""
    told += ", other than the tokens that it was trained on" if token.other else ""
    if reading.outside or token.other:
        flagged += " o"
    return (
        f'<span class="t{flagged}" style="background:{_css(p)}" title="{told}">'
        f"{html.escape(shown(token))}<i>{p:.2f}</i></span>{line}"
    )
