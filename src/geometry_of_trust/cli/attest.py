"""The command attest."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

from geometry_of_trust.cli.common import (
    OK,
    STEPS,
    Many,
    Switch,
    app,
    opened_keyring,
    passphrase_from,
    progress_on,
    talk,
)
from geometry_of_trust.cli.evidence_files import check_evidence_places, stage_evidence
from geometry_of_trust.errors import OutputExists
from geometry_of_trust.outputs.places import check_replaces
from geometry_of_trust.outputs.staged_files import StagedFiles
from geometry_of_trust.terminal import escaped, quoted

if TYPE_CHECKING:
    from geometry_of_trust.signing.attestation import Attestation
    from geometry_of_trust.signing.binding import BoundProbeSet


@app.command(group=STEPS, sort_key=5)
def attest(
    *,
    activations: Path,
    probes: Annotated[list[Path], Many],
    unembedding: Path,
    key: Path,
    output: Path,
    dsse: Path | None = None,
    bundle: Path | None = None,
    model_id: str | None = None,
    corpus_version: str = "unversioned",
    position: str | None = None,
    text: int | None = None,
    timestamp: int | None = None,
    epsilon: float = 1e-6,
    previous: Path | None = None,
    keyring: Path | None = None,
    keyring_key: Path | None = None,
    geometry_reference: Path | None = None,
    other_weights: Annotated[bool, Switch] = False,
    unknown_training: Annotated[bool, Switch] = False,
    anyway: Annotated[bool, Switch] = False,
    labels: Path | None = None,
    label_column: Annotated[list[str] | None, Many] = None,
    threshold: float | None = None,
    bar: Path | None = None,
    intervention: Annotated[list[Path] | None, Many] = None,
    passphrase_file: Path | None = None,
    json: Annotated[bool, Switch] = False,
) -> int:
    """5. Read the probes and sign the readings, bound to everything they came from.

    Parameters
    ----------
    activations
        The .gotact file to read.
    probes
        Probe sets, one or more.
    unembedding
        The .gotue file, for the inner product.
    key
        The secret key.
    output
        Where the attestation (JSON) goes. Replaces no other kind of file. Readings of every row
        that are more than 65,536 go beside it (.readings.parquet), under its signature.
    dsse
        Where it goes, too, as an in-toto statement in a DSSE envelope, signed with the same key.
    bundle
        Where such an envelope goes in a Sigstore bundle.
    model_id
        Must be the activations' own [default: that].
    corpus_version
        Name of the data, signed as it is.
    position
        Token to read: last, first, mean (of all), a number, or every: each row of a corpus, of
        probes trained with --aggregate each text [default: last; of such probes all tokens of a
        text].
    text
        Which text such probes read, by its number from 0 [default: the only one].
    timestamp
        Unix seconds [default: SOURCE_DATE_EPOCH, else now].
    epsilon
        As given to train.
    previous
        The attestation before this one in a history, by the same key or by one of the keyring.
    keyring
        The keyring that says which keys may take over from each other.
    keyring_key
        The public key that the keyring is signed with.
    geometry_reference
        A .gotgeo file (got-cli checkpoint), from which drift is measured and signed.
    other_weights
        Take probes that were trained on another model's weights, which is then bound.
    unknown_training
        Also take probe sets that do not say what they were trained on, as the reference makes
        them; the document says so.
    anyway
        Also read probes at other tokens than they were trained on; the document says so.
    labels
        Labels of every row, as for train: the evaluation of the readings is signed, too.
    label_column
        As for train; with several probes, a column of each one's name.
    threshold
        Sign, too, what comes of calling rows positive from this probability on [default: above
        the probe's own threshold, if it has one].
    bar
        A file that was written down before, with what a probe must reach; the document says
        whether it did.
    intervention
        Results of got-cli intervene with these probes: sign them, too, one a probe at most.
    passphrase_file
        First line: the passphrase of an encrypted key.
    json
        Print the result as JSON.
    """
    from geometry_of_trust.attesting.attest import attest as sign
    from geometry_of_trust.documents.names_beside import readings_path
    from geometry_of_trust.documents.positions import EVERY
    from geometry_of_trust.showing import verdicts
    from geometry_of_trust.signing.core_dumps import forbid_core_dumps
    from geometry_of_trust.signing.keys import load_secret_key

    check_replaces(output, "an attestation", re.compile(rb'\s*\{\s*"schema_version"'))
    check_evidence_places(dsse, bundle)
    beside = readings_path(output)
    if position == EVERY:
        check_replaces(beside, "readings", re.compile(rb"PAR1"))
    forbid_core_dumps()
    ring = opened_keyring(keyring, keyring_key)
    secret = load_secret_key(key, passphrase_from(passphrase_file))
    with progress_on("Reading the probes"), StagedFiles() as staged:
        attestation = sign(
            activations=activations,
            probes=probes,
            unembedding=unembedding,
            key=secret,
            model_id=model_id,
            corpus_version=corpus_version,
            position=position,
            text=text,
            timestamp=timestamp,
            epsilon=epsilon,
            previous=previous,
            keyring=ring,
            geometry_reference=geometry_reference,
            other_weights=other_weights,
            unknown_training=unknown_training,
            anyway=anyway,
            labels=labels,
            label_columns=label_column or (),
            threshold=threshold,
            bar=bar,
            interventions=intervention or (),
            readings=lambda: _opened_beside(staged, beside, output),
        )
        staged.write(output, attestation.to_json())
        stage_evidence(staged, attestation, secret, dsse=dsse, bundle=bundle)
    for bound, path in zip(attestation.bound().probe_sets, probes, strict=True):
        if bound.unknown_training:
            talk(
                "warning: it does not say what it was trained on, so that nothing holds it against "
                f"model and precision: probes for {', '.join(map(quoted, bound.dimensions))}"
            )
        else:
            _tell_untold(attestation, bound, path)
        if bound.other_tokens:
            talk(
                "warning: it was trained on other tokens than those that are read, and says "
                f"nothing of these: probes for {', '.join(map(quoted, bound.dimensions))}"
            )
        far = [name for name, out in zip(bound.dimensions, bound.outside, strict=False) if out]
        if far:
            talk(
                "warning: far outside of what the probe was fitted on, which makes its probability "
                f"worthless: {', '.join(map(quoted, far))}"
            )
    kept_apart = attestation.bound().readings
    if kept_apart is not None and kept_apart.outside:
        talk(
            f"warning: {kept_apart.outside} readings far outside of what their probes were fitted "
            "on, which makes these probabilities worthless"
        )
    evaluation = attestation.bound().evaluation
    for probe in () if evaluation is None else evaluation.probes:
        if probe.trained_on:
            talk(
                "warning: evaluated on rows or texts that it was trained on, so that the figures "
                f"are too good: probe {quoted(probe.dimension)}"
            )
    for name in attestation.insufficient:
        talk(
            "warning: INSUFFICIENT by its own card, which got-cli show prints: "
            f"probe {quoted(name)}"
        )
    print(verdicts.attestation_json(attestation) if json else verdicts.attestation(attestation))
    if not json:
        written = None if attestation.bound().readings is None else beside
        for path in filter(None, (output, written, dsse, bundle)):
            print(f"wrote {escaped(path)}")
    return OK


def _opened_beside(staged: StagedFiles, beside: Path, output: Path) -> BinaryIO:
    """The file of readings, which replaces none but those of the document that is replaced.

    Raises:
        OutputExists: there are some of another document: `run.1` and `run.2` share a name.
    """
    if os.path.lexists(beside) and not os.path.lexists(output):
        raise OutputExists(
            beside, expected="no file of that name, or readings of the document replaced",
            found=f"one, and no {escaped(output.name)}",
            hint="Choose another name, or remove it if its document is gone.",
        )  # fmt: skip
    return staged.open(beside)


def _tell_untold(attestation: Attestation, bound: BoundProbeSet, path: Path) -> None:
    """Say what nothing tells of a probe set that was just read, and so was not held against it."""
    from geometry_of_trust.probing.probes import read_probe_set

    training = read_probe_set(path).training
    if training is None:
        return
    if attestation.model_hash and not bound.other_weights and training.weights is None:
        talk(
            "warning: it does not say which weights it was trained on, so that the model's "
            f"name decides: {escaped(path)}"
        )
    if training.tokens is None:
        talk(
            "warning: it does not say which tokens it was trained on, so that nothing holds "
            f"those that are read against them: {escaped(path)}"
        )
    elif attestation.bound().extraction_record is None:
        talk(
            "warning: no extraction record says which tokens these are, so that nothing holds "
            f"them against those trained on: {escaped(path)}"
        )
