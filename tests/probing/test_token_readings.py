"""A text read token by token: as `attest` reads it, and shown safely."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry_of_trust.attesting.attest import attest
from geometry_of_trust.cli import main
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.errors import (
    BadOption,
    GeometryMismatch,
    GotError,
    PositionMissing,
    RecordMismatch,
    Unreadable,
)
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.files import sha256_file
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import read_unembedding, write_unembedding
from geometry_of_trust.formats.row_writer import RowWriter, TextRows
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.probe_readings import Reading
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.token_readings import (
    ProbeReadings,
    TextReadings,
    TokenText,
    read_tokens,
)
from geometry_of_trust.probing.training_files import train_files
from geometry_of_trust.showing import token_readings
from options import training_arguments
from pipeline import KEY
from tiny_models import FAMILIES, TEXT, build

NASTY = ["<script>alert(1)</script>", "\x1b[31m", "\u202egnp.exe", "a\nb", "&amp;", "\"' onload=x"]

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text run through a tiny model, and a probe on it."""
    folder = tmp_path_factory.mktemp("one")
    model = build(FAMILIES["llama"], folder / "model")
    extract(model, TEXT, [1, 2], output_activations=folder / "a.gotact",
            output_unembedding=folder / "u.gotue",
            options=ExtractionOptions(model_id="tiny"))  # fmt: skip
    count = len((folder / "a.labels").read_text().splitlines())
    (folder / "a.labels").write_text("".join(f"{k % 2}\n" for k in range(count)))
    for name, inner in (("p", "causal"), ("e", "euclidean")):
        result = train_files(
            activations=folder / "a.gotact", unembedding=folder / "u.gotue", layer=2,
            labels=folder / "a.labels", **training_arguments(dimension="odd", inner_product=inner),
        )  # fmt: skip
        write_file(folder / f"{name}.json", result.probe_set.to_json())
    unembedding = read_unembedding(folder / "u.gotue")
    write_unembedding(folder / "v.gotue", 2 * np.array(unembedding.values))
    return folder


def files(folder: Path, **changes: Any) -> dict[str, Any]:
    names = {"activations": "a.gotact", "probes": "p.json", "unembedding": "u.gotue"}
    return {name: folder / path for name, path in (names | changes).items()}


@pytest.fixture(scope="module")
def corpus(one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts 3 and 4 of a corpus, the first of nasty tokens, the second of one mean."""
    folder = tmp_path_factory.mktemp("corpus")
    d = read_unembedding(one / "u.gotue").hidden_dim
    count = len(NASTY)
    values = np.random.default_rng(1).normal(size=(1, count + 1, d)).astype(np.float32)
    write_activations(
        folder / "a.gotact", Activations("tiny", "Fp32", (2,), range(count + 1), values)
    )
    with (
        rows_path(folder / "a.gotact").open("wb") as handle,
        RowWriter(handle) as writer,
    ):
        writer.add(
            TextRows(
                text=3, group=None, token_index=list(range(count)), token_id=list(range(count)),
                token=NASTY, span=[(k, k + 1) for k in range(count)], special=[False] * count,
            )
        )  # fmt: skip
        writer.add(TextRows(4, None, [None], [None], [None], [None], [False]))
    for name in ("p.json", "u.gotue"):
        (folder / name).write_bytes((one / name).read_bytes())
    return folder


# --- readings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("probes", ["p.json", "e.json"])
def test_each_token_is_read_as_attest_reads_it(one: Path, probes: str) -> None:
    text = read_tokens(**files(one, probes=probes))
    assert (text.model_id, text.layer, text.text) == ("tiny", 2, 0)
    read = "".join(token.text or "" for token in text.tokens)
    assert read.startswith(f"<s>{TEXT[:60]}")  # what follows has tokens of parts of a character
    (probe,) = text.probes
    card = read_probe_set(one / probes).training
    assert card is not None
    assert (probe.dimension, probe.verdict) == ("odd", card.cards[0].verdict)
    for n in (0, 3, len(text.tokens) - 1):
        signed = attest(
            activations=one / "a.gotact", probes=[one / probes], unembedding=one / "u.gotue",
            key=KEY, position=str(n), timestamp=1,
        )  # fmt: skip
        reading = probe.readings[n]
        assert (reading.raw, reading.confidence, reading.flagged) == (
            signed.layer_readings[0][0], signed.confidence[0], signed.coverage_flags[0],
        )  # fmt: skip


def test_one_text_of_a_corpus(corpus: Path) -> None:
    text = read_tokens(**files(corpus), text=3)
    assert [token.text for token in text.tokens] == NASTY
    assert [token.row for token in text.tokens] == list(range(len(NASTY)))
    mean = read_tokens(**files(corpus), text=4)
    assert mean.tokens == (TokenText(len(NASTY), None),)
    assert "?" in token_readings.page(mean)


@pytest.mark.parametrize(
    ("text", "error"), [(None, BadOption), (5, PositionMissing), (0, PositionMissing)]
)
def test_a_text_of_a_corpus_must_be_named(
    corpus: Path, text: int | None, error: type[GotError]
) -> None:
    with pytest.raises(error):
        read_tokens(**files(corpus), text=text)


def test_refusals(one: Path, tmp_path: Path) -> None:
    with pytest.raises(PositionMissing):
        read_tokens(**files(one), text=1)
    with pytest.raises(RecordMismatch):
        read_tokens(**files(one, unembedding="v.gotue"))
    record = record_path(one / "a.gotact").read_bytes()
    (tmp_path / "a.gotact").write_bytes((one / "a.gotact").read_bytes())
    ours, other = (sha256_file(one / name).encode() for name in ("u.gotue", "v.gotue"))
    record_path(tmp_path / "a.gotact").write_bytes(record.replace(ours, other))
    with pytest.raises(GeometryMismatch):
        read_tokens(**files(one, unembedding="v.gotue") | {"activations": tmp_path / "a.gotact"})
    (tmp_path / "b.gotact").write_bytes((one / "a.gotact").read_bytes())
    moved = files(one) | {"activations": tmp_path / "b.gotact"}
    with pytest.raises(Unreadable):
        read_tokens(**moved)
    data = bytearray((one / "a.gotact").read_bytes())
    data[-2] ^= 1
    (tmp_path / "b.gotact").write_bytes(data)
    record_path(tmp_path / "b.gotact").write_bytes(record_path(one / "a.gotact").read_bytes())
    with pytest.raises(RecordMismatch):
        read_tokens(**moved)


# --- what is shown ----------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags and text of a page, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def readings(tokens: list[str], p: float = 0.75) -> TextReadings:
    probe = ProbeReadings(
        "<b>warm</b>", "INSUFFICIENT", tuple(Reading(1.0, p, p < 0.7) for _ in tokens)
    )
    return TextReadings(
        "<i>tiny</i>\x1b[2J", 2, 0, tuple(map(TokenText, range(len(tokens)), tokens)), (probe,)
    )


def test_html_shows_markup_and_control_characters_as_text() -> None:
    text = readings(NASTY)
    html = token_readings.page(text)
    assert html == token_readings.page(text)
    for raw in ("<script", "\x1b", "\u202e", "<b>", "<i>tiny"):
        assert raw not in html
    page = Page()
    page.feed(html)
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "p", "h1", "span", "i", "br",
    }  # fmt: skip
    assert {name for _, attributes in page.tags for name in attributes} <= {
        "lang", "charset", "http-equiv", "content", "class", "style", "title",
    }  # fmt: skip
    for shown in ("<script>alert(1)</script>", "\\x1b[31m", "\\u202egnp.exe", "a\\nb", "&amp;",
                  "\"' onload=x", "<b>warm</b>", "INSUFFICIENT"):  # fmt: skip
        assert shown in page.text
    assert page.text.count("0.75") == len(NASTY) + 1  # with the key


def test_shades_grow_darker_and_stay_legible() -> None:
    def luminance(rgb: tuple[int, int, int]) -> float:
        linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    shades = [luminance(token_readings.shade(k / 20)) for k in range(21)]
    assert all(a > b for a, b in itertools.pairwise(shades))
    assert shades[0] == pytest.approx(1)
    assert (shades[-1] + 0.05) / 0.05 >= 7  # WCAG contrast of black text


@pytest.mark.parametrize(("p", "digit"), [(0.0, "₀"), (0.0999, "₀"), (0.5, "₅"), (1.0, "₉")])
def test_tenths(p: float, digit: str) -> None:
    assert token_readings.tenth(p) == digit


def test_lines_and_pieces_are_safe_and_say_the_number() -> None:
    text = readings(NASTY, 0.25)
    (probe,) = text.probes
    table = token_readings.lines(text, probe)
    assert len(table) == 1 + len(NASTY)
    assert all("0.250*" in line and "#####..............." in line for line in table[1:])
    pieces = [piece for piece, _ in token_readings.pieces(text, probe)]
    everything = "\n".join([*table, token_readings.title(text, probe), *pieces])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", everything)
    assert everything.count("₂") == len(NASTY)


# --- the command ------------------------------------------------------------------------------


def arguments(folder: Path, *more: object) -> list[str]:
    given = [part for name, path in files(folder).items() for part in (f"--{name}", path)]
    return ["read", *map(str, (*given, *more))]


def test_command(one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "t.html"
    assert main(arguments(one, "--html", page)) == 0
    out, err = capsys.readouterr()
    text = read_tokens(**files(one))
    assert out.count("\n") == len(text.tokens) + 5
    assert "\x1b" not in out
    assert "layer 2, text 0; by its card INSUFFICIENT: 'odd' of tiny" in out
    assert err.splitlines() == [f"wrote {page}"]
    assert page.read_bytes() == token_readings.page(text).encode()


def test_command_colours_a_terminal(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(arguments(corpus, "--text", 3)) == 0
    out = capsys.readouterr().out
    text = read_tokens(**files(corpus), text=3)
    red, green, blue = token_readings.shade(text.probes[0].readings[0].confidence)
    assert f"48;2;{red};{green};{blue}m" in out
    assert "\x1b[31m" not in out
    assert "\\x1b[31m" in out


def test_command_prints_json(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(corpus, "--text", 3, "--json")) == 0
    tree = json.loads(capsys.readouterr().out)
    assert [token["text"] for token in tree["tokens"]] == NASTY
    assert set(tree["probes"][0]["readings"][0]) == {"raw", "confidence", "flagged", "outside"}


@pytest.mark.parametrize(
    ("more", "code"), [((), 2), (("--text", 9), 1), (("--text", 3, "--html", "."), 3)]
)
def test_command_refuses(
    corpus: Path, more: tuple[object, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(corpus, *more)) == code
    assert capsys.readouterr().err.count("\n") == 1
