"""A corpus through the model: each row is that of its text alone, whatever it ran with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from transformers import AutoTokenizer

from geometry_of_trust import errors
from geometry_of_trust.cli import main
from geometry_of_trust.corpus import planning
from geometry_of_trust.corpus.corpus_run import CorpusExtraction
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.documents.extraction_record_reading import read_record
from geometry_of_trust.documents.names_beside import record_path, rows_path
from geometry_of_trust.extraction.one_text import extract
from geometry_of_trust.extraction.tokenizing import Encoded, encode
from geometry_of_trust.formats.activations_file import open_activations
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.labels import read_labels
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.formats.row_writer import NONE
from gguf_files import write_gguf
from options import arguments_of
from tiny_models import FAMILIES, HIDDEN, TinyModel

TEXTS = [
    "The river Seine flows through Paris.",
    "London",
    "The Thames through London; naïve café, and the river.",
    "Paris",
    "The river Seine flows through Rouen.",
    "and the Thames",
    "flows",
    "The river Rhine flows through Basel.",
]
LAYERS = [0, 2]

pytestmark = pytest.mark.usefixtures("quickly")


def run(model: Path, to: Path, corpus: Any = TEXTS, **options: Any) -> CorpusExtraction:
    return extract_corpus(
        model, corpus, LAYERS, output_activations=to / "a.gotact",
        output_unembedding=to / "u.gotue", **arguments_of(**({"model_id": "tiny"} | options)),
    )  # fmt: skip


def alone(model: Path, to: Path, text: str, **options: Any) -> Any:
    done = extract(
        model, text, LAYERS, output_activations=to / "one.gotact",
        output_unembedding=to / "one.gotue", **arguments_of(**options),
    )  # fmt: skip
    return done.activations.values


QUICK = ("llama", "gpt2", "gemma2", "qwen3")
"""Families whose corpora make test runs; make bench runs all, tests/families each alone."""


EACH = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.heavy) for name in FAMILIES]


@pytest.mark.parametrize("name", EACH)
def test_every_row_is_that_of_its_text_alone(
    name: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    done = run(tiny_model(name), tmp_path, position="all")
    table = read_rows(done.rows_path)
    assert len(table) == done.activations.values.shape[1] == len(done.activations.positions)
    for text, rows in zip(TEXTS, table.text_rows(), strict=True):
        expected = alone(tiny_model(name), tmp_path, text, reproducible=True)
        assert done.activations.values[:, rows].tobytes() == expected.tobytes()
    assert done.record.unproved == ()
    assert [check.bit_equal for check in done.record.checks] == [True] * 3


@pytest.mark.parametrize(
    ("batch_size", "name"),
    [
        pytest.param("auto", name, marks=[] if name in QUICK else pytest.mark.heavy)
        for name in FAMILIES
    ]
    + [(size, name) for size in (1, 3) for name in ("llama", "gemma2", "gpt-neo")],
)
def test_so_it_is_nearly_with_the_fast_path(
    name: str, batch_size: Literal["auto"] | int, tiny_model: TinyModel, tmp_path: Path
) -> None:
    done = run(
        tiny_model(name), tmp_path, position="all", reproducible=False, batch_size=batch_size
    )
    table = read_rows(done.rows_path)
    for text, rows in zip(TEXTS, table.text_rows(), strict=True):
        expected = alone(tiny_model(name), tmp_path, text, reproducible=False)
        largest = np.abs(done.activations.values[:, rows] - expected).max()
        assert largest <= 1e-5 * np.abs(expected).max()
    assert all(check.passed for check in done.record.checks)


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "Fp16"), ("bfloat16", "Bfloat16")])
def test_half_precision(dtype: str, precision: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    done = run(tiny_model("llama"), tmp_path, position="all", dtype=dtype)
    assert done.activations.precision == precision
    assert all(check.passed for check in done.record.checks)
    for text, rows in zip(TEXTS, read_rows(done.rows_path).text_rows(), strict=True):
        expected = alone(tiny_model("llama"), tmp_path, text, dtype=dtype)
        largest = np.abs(done.activations.values[:, rows] - expected).max()
        assert largest <= 0.05 * np.abs(expected).max()


def test_texts_that_have_their_first_token_already(
    tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "c.txt"
    corpus.write_text("<s>The river\nThe river\n<s>London\n")
    to = ["--output-activations", str(tmp_path / "a.gotact"),
          "--output-unembedding", str(tmp_path / "u.gotue")]  # fmt: skip
    command = ["extract", "--model", str(tiny_model("llama")), "--input-file", str(corpus),
               "--layers", "0", *to]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "warning" in said
    assert "before 2 of 3 texts" in said
    assert run(tiny_model("llama"), tmp_path / "other").begun_twice == 0


def test_a_gguf_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    done = run(tmp_path / "tiny.gguf", tmp_path)
    for row, text in enumerate(TEXTS):
        expected = alone(tmp_path / "tiny.gguf", tmp_path, text)[:, -1]
        assert done.activations.values[:, row].tobytes() == expected.tobytes()


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 2}])
def test_a_reproducible_run_does_not_depend_on_batches(
    options: dict[str, Any], tiny_model: TinyModel, tmp_path: Path
) -> None:
    plain, other = (
        run(tiny_model("llama"), tmp_path / name, **chosen)
        for name, chosen in (("plain", {}), ("other", options))
    )
    for one, two in (
        (plain.activations_path, other.activations_path),
        (plain.unembedding_path, other.unembedding_path),
        (plain.labels_path, other.labels_path),
    ):
        assert one.read_bytes() == two.read_bytes()
    assert plain.record.digest == other.record.digest


@pytest.mark.parametrize(
    ("position", "skip", "token"), [("last", False, -1), ("first", False, 0), ("1", False, 1),
                                    ("first", True, 1), ("0", True, 1)],
)  # fmt: skip
def test_one_token_of_each_text(
    position: str, skip: bool, token: int, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    done = run(model, tmp_path, position=position, skip_special_tokens=skip)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    table = read_rows(done.rows_path)
    for row, text in enumerate(TEXTS):
        encoded = tokenizer(text, return_offsets_mapping=True)
        expected = alone(model, tmp_path, text)[:, token]
        assert done.activations.values[:, row].tobytes() == expected.tobytes()
        ids = encoded["input_ids"]
        assert table.token_id[row] == ids[token]
        assert table.token_index[row] == token % len(ids)
        assert table.token[row] == tokenizer.decode([ids[token]])
        start, end = encoded["offset_mapping"][token]
        none = (NONE, NONE)
        assert (table.start[row], table.end[row]) == ((start, end) if start < end else none)
        assert table.tokens[row] == tuple(ids)
        assert table.special[row] == (ids[token] in tokenizer.all_special_ids)


@pytest.mark.parametrize("skip", [False, True])
def test_the_mean_is_that_of_the_rows_rounded_once(
    skip: bool, tiny_model: TinyModel, tmp_path: Path
) -> None:
    mean = run(tiny_model("gpt2"), tmp_path / "m", position="mean", skip_special_tokens=skip)
    every = run(tiny_model("gpt2"), tmp_path / "a", position="all", skip_special_tokens=skip)
    table = read_rows(every.rows_path)
    assert not table.special.any() or not skip
    for text, rows in enumerate(table.text_rows()):
        exact = every.activations.values[:, rows].astype(np.longdouble).mean(axis=1)
        assert mean.activations.values[:, text].tobytes() == exact.astype(np.float32).tobytes()
    assert (read_rows(mean.rows_path).token_index == NONE).all()
    assert mean.record.unproved == ()


def test_both_layouts_hold_the_same(tiny_model: TinyModel, tmp_path: Path) -> None:
    first = run(tiny_model("llama"), tmp_path / "1", position="all")
    second = run(tiny_model("llama"), tmp_path / "2", position="all", layout="per-position")
    assert second.activations.layout == "per-position"
    np.testing.assert_array_equal(first.activations.values, second.activations.values)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus with labels of two dimensions and groups."""
    path = tmp_path / "corpus.jsonl"
    rows = [
        {"text": text, "long": len(text) > 20, "river": int("river" in text), "of": text.split()[0]}
        for text in TEXTS
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


COLUMNS: dict[str, Any] = {"label_columns": ("river", "long"), "group_column": "of"}


def test_labels_and_groups(corpus: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    done = run(tiny_model("llama"), tmp_path, corpus, **COLUMNS, position="all")
    table = read_rows(done.rows_path)
    river = [int("river" in TEXTS[n]) for n in table.text]
    assert read_labels(done.labels_path).tolist() == river
    assert table.label("river").tolist() == river
    assert table.label("long").tolist() == [int(len(TEXTS[n]) > 20) for n in table.text]
    assert table.group == tuple(TEXTS[n].split()[0] for n in table.text)
    with pytest.raises(errors.MissingMember) as caught:
        table.label("wide")
    assert caught.value.found == "river, long"


def test_edited_labels_are_kept(corpus: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    done = run(tiny_model("llama"), tmp_path, corpus, **COLUMNS)
    assert not run(tiny_model("llama"), tmp_path, corpus, **COLUMNS).labels_kept
    done.labels_path.write_text("1\n" * len(TEXTS))
    assert run(tiny_model("llama"), tmp_path, corpus, **COLUMNS).labels_kept
    assert done.labels_path.read_text() == "1\n" * len(TEXTS)


def test_the_record_names_the_corpus(corpus: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    done = run(tiny_model("llama"), tmp_path, corpus, **COLUMNS)
    record = read_record(done.record_path)
    assert record == done.record
    assert record.corpus is not None
    assert (record.corpus.texts, record.corpus.rows, record.positions) == (8, 8, 8)
    table = open_activations(done.activations_path).rows
    assert table is not None
    assert record.corpus.rows_sha256 == table.digest()
    again = run(tiny_model("llama"), tmp_path / "again", corpus, **COLUMNS)
    assert again.record_path.read_bytes() == done.record_path.read_bytes()
    for changed in ({"label_columns": ("long",)}, {"group_column": None}):
        other = run(tiny_model("llama"), tmp_path / "other", corpus, **(COLUMNS | changed))
        assert other.record.digest != record.digest
        assert other.record.activations == record.activations


def test_another_row_table_is_not_taken(
    corpus: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    done = run(tiny_model("llama"), tmp_path, corpus, **COLUMNS)
    other = run(tiny_model("llama"), tmp_path / "other", corpus)
    shutil.copy(other.rows_path, done.rows_path)
    with pytest.raises(errors.RecordMismatch):
        assert open_activations(done.activations_path).rows
    done.rows_path.unlink()
    assert open_activations(done.activations_path).rows is None


@pytest.mark.parametrize(
    ("texts", "where", "error"),
    [
        (["fine", ""], "text 2", errors.EmptyText),
        (["fine", "\udcff"], "text 2", errors.BadText),
        (["fine", "long " * 200], "text 2", errors.TextTooLong),
        (["fine", " " * (2**20 + 1)], "text 2", errors.TextTooLong),
        ([], "corpus", errors.EmptyText),
    ],
)
def test_a_text_that_cannot_be_run_is_named(
    texts: list[str],
    where: str,
    error: type[errors.GotError],
    tiny_model: TinyModel,
    tmp_path: Path,
) -> None:
    with pytest.raises(error) as caught:
        run(tiny_model("llama"), tmp_path, texts)
    assert caught.value.where == where
    assert not list(tmp_path.glob("*.gotact"))


def test_long_texts_are_tokenized_a_few_at_a_time(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["some words"] * 7
    whole = run(tiny_model("llama"), tmp_path / "whole", texts)
    counts: list[int] = []

    def counted(tokenizer: Any, some: list[str], **options: Any) -> list[Encoded]:
        counts.append(len(some))
        return encode(tokenizer, some, **options)

    monkeypatch.setattr(planning, "encode", counted)
    monkeypatch.setattr(planning, "MAX_CHARACTERS", 2 * len(texts[0]))
    parts = run(tiny_model("llama"), tmp_path / "parts", texts)
    assert counts == [3, 3, 1]
    assert parts.activations_path.read_bytes() == whole.activations_path.read_bytes()


def test_states_that_are_not_finite_name_text_and_position(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), model)
    weights = load_file(model / "model.safetensors")
    number = AutoTokenizer.from_pretrained(model)("é")["input_ids"][-1]
    weights["model.embed_tokens.weight"][number] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(errors.NonFinite) as caught:
        run(model, tmp_path, position="all", reproducible=False)
    assert caught.value.where.startswith("layer 0, text 3, position ")


TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)


@pytest.mark.parametrize("prompt", [False, True])
def test_chats_go_through_the_template(prompt: bool, tiny_model: TinyModel, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    chat = [{"role": "user", "content": "London?"}, {"role": "assistant", "content": "Paris."}]
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": chat}))
    done = run(model, tmp_path, path, position="all", add_generation_prompt=prompt)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    expected = tokenizer.apply_chat_template(chat, add_generation_prompt=prompt, return_dict=True)[
        "input_ids"
    ]
    assert read_rows(done.rows_path).token_id.tolist() == list(expected)
    assert done.record.corpus is not None
    assert done.record.corpus.chat_template_sha256 is not None
    with pytest.raises(errors.BadChat):
        run(tiny_model("llama"), tmp_path, path)


def test_checks_that_fail(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "geometry_of_trust.corpus.checking._BOUNDS", {"float32": -1.0}
    )  # which no difference is below
    options: dict[str, Any] = {"reproducible": False}
    done = run(tiny_model("llama"), tmp_path / "loose", **options)
    assert [check.passed for check in done.record.checks] == [False, True, True]
    with pytest.raises(errors.CheckFailed):
        run(tiny_model("llama"), tmp_path / "strict", strict=True, **options)
    assert not (tmp_path / "strict" / "a.gotact").exists()


@pytest.mark.parametrize(("texts", "padded"), [(["a", "b"], ""), (["ab", "bac"], "padded ")])
def test_a_check_says_padded_only_if_there_was_padding(
    texts: list[str], padded: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model("gpt2"), model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None  # no start token: a letter is a token
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = run(model, tmp_path, texts, reproducible=False)
    assert done.record.checks[0].name == f"states alone and in a {padded}batch"


def test_a_model_without_its_later_blocks_runs_and_is_not_checked(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), model)
    weights = load_file(model / "model.safetensors")
    kept = {name: value for name, value in weights.items() if ".layers.3." not in name}
    save_file(kept, model / "model.safetensors", {"format": "pt"})
    assert len(run(model, tmp_path / "loose").record.checks) == 1
    with pytest.raises(errors.CheckFailed):
        run(model, tmp_path / "strict", strict=True)


def test_the_command(
    corpus: Path, tiny_model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [
        "extract", "--model", str(tiny_model("llama")), "--input-file", str(corpus),
        "--layers", "1", "2", "--label-column", "long", "river",
        "--group-column", "of", "--limit", "5",
        "--position", "last", "--output-activations", str(out / "a.gotact"),
        "--output-unembedding", str(out / "u.gotue"), "--batch-size", "2",
    ]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "2 layers x 5 rows" in printed
    activations = read_activations(out / "a.gotact")
    assert activations.values.shape == (2, 5, HIDDEN)
    for name in ("a.gotact", "a.labels", "a.rows.parquet", "a.record.json"):
        assert main(["show", str(out / name)]) == 0
    shown = capsys.readouterr().out
    assert "group London" in shown
    assert main([*command, "--input", "both"]) == 2
    assert main(["extract", "--model", "x", "--layers", "1"]) == 2
    assert main([*command, "--batch-size", "0"]) == 2
    assert main([*command, "--position", "middle"]) == 2


@pytest.mark.parametrize(
    "option",
    [
        ["--label-column", "x"], ["--group-column", "x"], ["--limit", "1"], ["--split", "x"],
        ["--resume"], ["--strict"], ["--batch-size", "1"], ["--engine", "ray"],
        ["--text-column", "x"], ["--add-generation-prompt"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--position", "last"]])
def test_one_text_takes_no_option_of_a_corpus(option: list[str], more: list[str]) -> None:
    command = ["extract", "--model", "none", "--input", "x", "--layers", "1"]
    assert main([*command, *option, *more]) == 2


def test_one_text_without_its_special_tokens(tiny_model: TinyModel, tmp_path: Path) -> None:
    out = tmp_path / "a.gotact"
    assert main([
        "extract", "--model", str(tiny_model("llama")), "--input", TEXTS[0], "--layers", "1",
        "--skip-special-tokens", "--output-activations", str(out),
        "--output-unembedding", str(tmp_path / "u.gotue"),
    ]) == 0  # fmt: skip
    rows = read_rows(rows_path(out))
    assert not rows.special.any()
    assert rows.token_index.tolist() == list(range(1, len(rows) + 1))


def test_one_text_after_a_corpus_has_no_row_table(tiny_model: TinyModel, tmp_path: Path) -> None:
    done = run(tiny_model("llama"), tmp_path)
    table = done.rows_path.read_bytes()
    extract(
        tiny_model("llama"), TEXTS[0], LAYERS, output_activations=done.activations_path,
        output_unembedding=done.unembedding_path, **arguments_of(),
    )  # fmt: skip
    assert not done.rows_path.exists()
    done.rows_path.write_bytes(table)
    assert open_activations(done.activations_path).rows is None


def test_a_run_that_fails_before_its_first_rows_leaves_nothing(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(errors.TextTooLong):
        run(tiny_model("llama"), tmp_path, ["long " * 200])
    monkeypatch.setattr("geometry_of_trust.corpus.checking.check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model("llama"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_text_with_a_position(tiny_model: TinyModel, tmp_path: Path) -> None:
    out = tmp_path / "a.gotact"
    assert main([
        "extract", "--model", str(tiny_model("llama")), "--input", TEXTS[0], "--layers", "1",
        "--position", "mean", "--output-activations", str(out),
        "--output-unembedding", str(tmp_path / "u.gotue"),
    ]) == 0  # fmt: skip
    assert read_activations(out).values.shape == (1, 1, HIDDEN)
    assert read_record(record_path(out)).corpus is not None
