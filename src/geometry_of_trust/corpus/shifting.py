"""The texts of a corpus in other styles (`shifts`), extracted again in one run of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.corpus.entries import read_corpus
from geometry_of_trust.corpus.extracting import extract_corpus
from geometry_of_trust.corpus.options import CorpusOptions
from geometry_of_trust.corpus.planning import CorpusDigest
from geometry_of_trust.corpus.shifts import SHIFTS
from geometry_of_trust.documents.extraction_record import Record
from geometry_of_trust.documents.names_beside import rows_path
from geometry_of_trust.documents.token_choice import ALL
from geometry_of_trust.errors import (
    BadChat,
    BadOption,
    ContentMismatch,
    Interrupted,
    ModelMismatch,
    TextTooLong,
)
from geometry_of_trust.extraction.options import DTYPE_OF, ExtractionOptions, LoadingOptions
from geometry_of_trust.files import PathLike
from geometry_of_trust.formats.gotact import read_activations
from geometry_of_trust.formats.row_table import read_rows
from geometry_of_trust.outputs.temporary_files import scratch_folder

_DAY = "2026-01-01"
"""Of a chat template that writes the date, where the run of the texts themselves had none."""


@dataclass(frozen=True, eq=False)
class ShiftedTexts:
    """Texts in another style.

    Attributes:
        name: of the style. changed: the numbers of the texts that it changed.
        text: of each row which text it is of, by its number in the corpus, shape (n,).
        states: by layer, shape (n, d), float32.
    """

    name: str
    changed: frozenset[int]
    text: NDArray[np.int64]
    states: Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Shifter:
    """Extracts texts of a corpus again, in other styles, as they were extracted.

    Attributes:
        model, corpus: as of `extract_corpus`. options, corpus_options: as they were run; no tokens
            were chosen but all, and there are no chats.
        recorded: what the run's record says, to be held against texts and model, if it is there.
    """

    model: PathLike
    corpus: PathLike
    options: ExtractionOptions
    corpus_options: CorpusOptions
    recorded: Record | None = None

    @classmethod
    def as_recorded(
        cls,
        model: PathLike,
        corpus: PathLike,
        record: Record,
        *,
        text_column: str = "text",
        loading: LoadingOptions = LoadingOptions(),
    ) -> Shifter:
        """One that runs a model as a record says that it was run.

        Raises:
            BadOption: the record is not of a corpus.
        """
        rows = record.corpus
        if rows is None:
            raise BadOption("--shifts", expected="activations of a corpus", found="of one text")
        options = ExtractionOptions(
            **vars(loading),
            dtype=DTYPE_OF[record.precision],
            quantization="int8" if record.precision == "Int8" and not record.stored else None,
            reproducible=record.reproducible,
            allow_bidirectional=record.bidirectional,
            model_id=record.model_id,
            stream=record.stream,
        )
        corpus_options = CorpusOptions(
            tokens=rows.tokens,
            position=rows.position,
            skip_special_tokens=rows.skip_special_tokens,
            text_column=text_column,
            add_generation_prompt=rows.add_generation_prompt,
            date=rows.date,
            limit=rows.texts,
        )
        return cls(
            model=model, corpus=corpus, options=options, corpus_options=corpus_options,
            recorded=record,
        )  # fmt: skip

    def check(self) -> None:
        """What can be refused before a long run.

        Raises:
            BadOption: tokens were chosen, or the corpus is of chats.
            ContentMismatch: its texts are not those recorded. And as `read_corpus`.
        """
        if self.corpus_options.tokens != ALL:
            raise BadOption(
                "--shifts", expected="--tokens all, as a shift may change the words others go by",
                found=f"--tokens {self.corpus_options.tokens}",
            )  # fmt: skip
        texts = self._texts()
        if self.recorded is not None and _digest(texts) != self.recorded.prompt_sha256:
            raise ContentMismatch(
                self.corpus, expected=f"the texts with sha256 {self.recorded.prompt_sha256}, as "
                "recorded", found=f"{len(texts)} texts with sha256 {_digest(texts)}",
            )  # fmt: skip

    def __call__(self, texts: Sequence[int], layers: Sequence[int]) -> list[ShiftedTexts]:
        """Extract texts, by their numbers in the corpus, in every style.

        A tokenizer without a chat template, or whose template takes no lone user turn, makes no
        chats; one that writes the date writes that of the run, or else the same one always.

        Raises:
            ModelMismatch: the model is not the one recorded. KeyboardInterrupt: the run was
                interrupted, and does not stay. And as `extract_corpus`.
        """
        every = self._texts()
        chosen = [every[i] for i in texts]
        try:
            return self._run(list(SHIFTS), chosen, texts, layers)
        except BadChat:
            names = [name for name, shift in SHIFTS.items() if isinstance(shift("a"), str)]
            return self._run(names, chosen, texts, layers)

    def _texts(self) -> list[str]:
        options = self.corpus_options
        columns = replace(options, label_columns=(), group_column=None).columns
        found = []
        for entry in read_corpus(
            self.corpus, columns=columns, split=options.split, limit=options.limit
        ):
            if entry.text is None:
                raise BadOption("--shifts", expected="a corpus of plain texts", found="a chat",
                                hint=f"{entry.where} is one.")  # fmt: skip
            found.append(entry.text)
        return found

    def _run(
        self,
        names: Sequence[str],
        chosen: Sequence[str],
        numbers: Sequence[int],
        layers: Sequence[int],
    ) -> list[ShiftedTexts]:
        styles = [[SHIFTS[name](text) for text in chosen] for name in names]
        options = replace(
            self.corpus_options, text_column="text", label_columns=(), group_column=None,
            split=None, limit=None, resume=False, date=self.corpus_options.date or _DAY,
        )  # fmt: skip
        with scratch_folder() as folder:
            corpus, to = Path(folder, "shifted.jsonl"), Path(folder, "a.gotact")
            corpus.write_text(
                "".join(json.dumps({"text": text}) + "\n" for style in styles for text in style)
            )
            try:
                many = extract_corpus(
                    self.model, corpus, layers, output_activations=to,
                    output_unembedding=Path(folder, "u.gotue"), options=self.options,
                    corpus_options=options,
                )  # fmt: skip
            except Interrupted:  # whose advice is to resume, in a folder that is gone
                raise KeyboardInterrupt from None
            except TextTooLong as error:
                raise TextTooLong(
                    "--shifts, a text in another style", expected=error.expected,
                    found=error.found, hint="Leave out the longest texts, which styles lengthen.",
                ) from None  # fmt: skip
            self._check_model(many.record)
            activations, rows = read_activations(to), read_rows(rows_path(to))
            states = {layer: activations.layer(layer).astype(np.float32) for layer in layers}
        found = []
        for k, (name, style) in enumerate(zip(names, styles, strict=True)):
            first, after = np.searchsorted(rows.text, (k * len(chosen), (k + 1) * len(chosen)))
            mine = slice(int(first), int(after))
            old = zip(numbers, style, chosen, strict=True)
            found.append(
                ShiftedTexts(
                    name,
                    frozenset(number for number, new, text in old if new != text),
                    np.array(numbers, np.int64)[rows.text[mine] - k * len(chosen)],
                    {layer: values[mine] for layer, values in states.items()},
                )
            )
        return found

    def _check_model(self, record: Record) -> None:
        if self.recorded is None:
            return
        ours, theirs = self.recorded, record
        if ours.weights is not None and theirs.weights is not None:
            same = ours.weights.are(theirs.weights)
        else:
            same = ours.unembedding.sha256 == theirs.unembedding.sha256
        if not same:
            raise ModelMismatch(
                self.model,
                expected=f"the model of the activations, {ours.weights or ours.model_id}",
                found=f"{theirs.weights or theirs.model_id}",
            )
        adapters = [x.adapter and f"adapter {x.adapter.sha256}" for x in (ours, theirs)]
        if adapters[0] != adapters[1]:
            raise ModelMismatch(
                "--adapter", expected=adapters[0] or "none, as recorded",
                found=adapters[1] or "none",
            )  # fmt: skip


def _digest(texts: Sequence[str]) -> str:
    """`Record.prompt_sha256` of plain texts."""
    corpus = CorpusDigest()
    for text in texts:
        corpus.add(text, "corpus")
    return corpus.hexdigest()
