"""Evaluation logs of Inspect, made by Inspect itself with its mock model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat_templates import tokenizer_of
from geometry_of_trust import errors
from geometry_of_trust.corpus.entries import Columns, Entry, read_corpus
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.formats.row_table import read_rows
from options import arguments_of
from tiny_models import TinyModel

inspect_ai = pytest.importorskip(
    "inspect_ai", reason="of the extra inspect, which is not in dev: make inspect"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # what Inspect's own libraries warn of


def _answer(content: Any) -> Any:
    from inspect_ai.model import ChatMessageAssistant, ModelOutput, ModelUsage

    output = ModelOutput.from_message(ChatMessageAssistant(content=content))
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # counted by none
    return output


def evaluated(folder: Path, answers: list[Any], **options: Any) -> Path:
    """The log of two questions, twice each."""
    from inspect_ai.dataset import Sample
    from inspect_ai.model import get_model
    from inspect_ai.scorer import includes, match
    from inspect_ai.solver import generate, system_message

    task = inspect_ai.Task(
        dataset=[Sample(input="France?", target="Paris", id="fr"),
                 Sample(input="Italy?", target="Rome", id=7)],
        solver=[system_message("Be brief."), generate()],
        scorer=[match(), includes()],
        epochs=2,
    )  # fmt: skip
    model = get_model("mockllm/model", custom_outputs=[_answer(answer) for answer in answers])
    (log,) = inspect_ai.eval(
        task, model=model, log_dir=str(folder), display="none", max_samples=1, **options
    )
    return Path(log.location.removeprefix("file://"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from inspect_ai.model import ContentReasoning, ContentText

    thought = [ContentReasoning(reasoning="Which?"), ContentText(text="Rome")]
    return evaluated(tmp_path_factory.mktemp("logs"), ["Paris", thought, "Lyon", "Paris"])


def entries(log: Path, *labels: str, **columns: Any) -> list[Entry]:
    return list(read_corpus(log, columns=Columns(labels=labels, **columns)))


def test_each_epoch_of_each_sample_is_a_chat(log: Path) -> None:
    found = entries(log, "match.value", "includes.value")
    assert [entry.group for entry in found] == ["fr", "fr", "7", "7"]
    assert len({entry.where for entry in found}) == 4
    for entry in found:
        said = entry.messages or ()
        assert [m["role"] for m in said] == ["system", "user", "assistant"]
        right = {"France?": "Paris", "Italy?": "Rome"}[str(said[1]["content"])]
        assert entry.labels == dict.fromkeys(
            ("match.value", "includes.value"), int(said[2]["content"] == right)
        )
    answers = sorted(str((entry.messages or ())[2]["content"]) for entry in found)
    assert answers == ["Lyon", "Paris", "Paris", "Rome"]
    (thought,) = [m for entry in found for m in entry.messages or () if "reasoning_content" in m]
    assert (thought["content"], thought["reasoning_content"]) == ("Rome", "Which?")
    assert {entry.group for entry in entries(log, group="epoch")} == {"1", "2"}
    with pytest.raises(errors.MissingColumn) as caught:
        entries(log, "other.value")
    assert "match.value" in str(caught.value.found)


def test_what_is_no_log_of_a_whole_evaluation(log: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.Unreadable):
        entries(tmp_path / "none.eval")
    (tmp_path / "damaged.eval").write_bytes(log.read_bytes()[:-100])
    (tmp_path / "text.eval").write_text("PK no log")
    for name in ("damaged", "text"):
        with pytest.raises(errors.BadCorpus) as caught:
            entries(tmp_path / f"{name}.eval")
        assert "\n" not in str(caught.value)
    with pytest.raises(errors.BadCorpus) as caught:  # the model has too few answers
        entries(evaluated(tmp_path / "failed", ["Paris"]))
    assert caught.value.found == "error"
    some = evaluated(tmp_path / "some", ["Paris"], fail_on_error=False)
    with pytest.raises(errors.BadCorpus) as caught:
        entries(some)
    assert "of epoch " in caught.value.where


def test_pictures(tmp_path: Path) -> None:
    from inspect_ai.model import ContentImage

    picture = ContentImage(image="data:image/png;base64,iVBORw0KGgo=")
    with pytest.raises(errors.BadCorpus) as caught:
        entries(evaluated(tmp_path, [[picture]] * 4))
    assert caught.value.found == "image"


@pytest.mark.usefixtures("quickly")
def test_answers_of_a_log(log: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_model("llama"), tmp_path / "model")
    tokenizer_of("qwen-3").save_pretrained(tmp_path / "model")
    options = {"tokens": "last-assistant", "position": "all", "label_columns": ("match.value",)}
    done = extract_corpus(
        tmp_path / "model", log, [0], output_activations=tmp_path / "a.gotact",
        output_unembedding=tmp_path / "u.gotue", **arguments_of(**options),
    )  # fmt: skip
    table = read_rows(done.rows_path)
    texts = ["".join(filter(None, table.token[rows])) for rows in table.text_rows()]
    assert sum("Which?" in text for text in texts) == 1
    assert all(text.endswith("<|im_end|>") for text in texts)
    assert set(table.label("match.value").tolist()) == {0, 1}
