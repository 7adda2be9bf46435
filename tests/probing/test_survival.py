"""Survival of probes, as theorems with controls: what is valid, realignable, stale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geometry_of_trust.cli import main
from geometry_of_trust.documents.thresholds import Thresholds
from geometry_of_trust.errors import (
    BadOption,
    GotError,
    LayerMissing,
    MissingMember,
    ModelMismatch,
    NotPaired,
    TooFewOfClass,
)
from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.formats.gotact import write_activations
from geometry_of_trust.formats.gotue import write_unembedding
from geometry_of_trust.formats.row_table import RowTable
from geometry_of_trust.outputs.staged_files import write_file
from geometry_of_trust.probing.options import TrainingOptions
from geometry_of_trust.probing.probes import read_probe_set
from geometry_of_trust.probing.survival_files import LayerSurvival, measure_survival
from geometry_of_trust.probing.training_files import train_files
from row_tables import table_of, write_table

D, N, LAYER = 12, 240, 3
Rows = NDArray[np.float32]


def states(n: int, seed: int) -> tuple[Rows, NDArray[np.int8]]:
    """States whose label lies along one direction, on top of a mean that all share."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 4 < 2).astype(np.int8)
    H = rng.normal(size=(n, D)) * np.linspace(0.5, 2, D) + 3
    H[:, 0] += np.where(y == 1, 0.8, -0.8)
    return H.astype(np.float32), y


def table(y: NDArray[np.int8], first: int = 0) -> RowTable:
    """A text a row, four rows a group; tokens differ from text to text."""
    whole = table_of([[first + i] for i in range(len(y))], [f"{i // 4}" for i in range(len(y))])
    return replace(whole, labels={"warm": y})


def write(folder: Path, name: str, H: Rows, rows: RowTable | None, model: str = "old") -> None:
    path = folder / f"{name}.gotact"
    write_activations(path, Activations(model, "Fp32", (LAYER,), range(len(H)), H[np.newaxis]))
    if rows is not None:
        write_table(folder / f"{name}.rows.parquet", rows)


def turned(H: Rows, seed: int = 5) -> Rows:
    """The same in another basis: rotated, and moved."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(D, D))).Q
    moved: Rows = (H @ rotation + rng.normal(size=D)).astype(np.float32)
    return moved


def noisy(H: Rows, size: float) -> Rows:
    return (H + size * np.random.default_rng(8).normal(size=H.shape)).astype(np.float32)


def erased(H: Rows) -> Rows:
    """All but what the label follows is as it was."""
    return np.concatenate([noisy(np.zeros_like(H[:, :1]), 1) + 3, H[:, 1:]], axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survival")
    H, y = states(N, 0)
    train, labels = states(N, 1)
    write(folder, "trained", train, table(labels, first=5000))
    write(folder, "old", H, table(y))
    for name, new in {
        "same": H, "turned": turned(H), "nearly": noisy(H, 0.05),
        "stretched": turned(H * np.geomspace(0.05, 5, D).astype(np.float32)),
        "independent": states(N, 9)[0][np.random.default_rng(1).permutation(N)],
        "erased": erased(H), "offset": H + np.float32(4),
    }.items():  # fmt: skip
        write(folder, name, new, table(y), model="new")
    write(folder, "shorter", H[:-1], table(y[:-1]), model="new")
    write(folder, "other texts", H, table(y, first=1), model="new")
    write(folder, "bare", H, None, model="new")
    pool, pool_y = states(N, 2)
    write(folder, "pool", pool, table(pool_y, first=9000))
    write(folder, "pool turned", turned(pool), table(pool_y, first=9000), model="new")
    write_unembedding(
        folder / "u.gotue", np.random.default_rng(3).normal(size=(60, D)).astype(np.float32)
    )
    result = train_files(
        activations=folder / "trained.gotact", unembedding=folder / "u.gotue", layer=LAYER,
        label_columns=["warm"], options=TrainingOptions(),
    )  # fmt: skip
    write_file(folder / "p.json", result.probe_set.to_json())
    return folder


def survival(folder: Path, to: str, old: str = "old", **options: Any) -> LayerSurvival:
    chosen: dict[str, Any] = {"label_columns": ["warm"], "probes": folder / "p.json"} | options
    chosen["probes"] = [chosen["probes"]]
    if "unlabelled" in chosen:
        chosen["unlabelled"] = [folder / f"{name}.gotact" for name in chosen["unlabelled"]]
    (layer,) = measure_survival(
        activations=folder / f"{old}.gotact", to=folder / f"{to}.gotact",
        unembedding=folder / "u.gotue", **chosen,
    ).layers  # fmt: skip
    return layer


def test_the_same_states_are_valid_and_nothing_changes(folder: Path) -> None:
    layer = survival(folder, "same")
    (probe,) = layer.probes
    assert probe.verdict == "VALID"
    assert probe.frozen.evaluation == probe.before
    change = probe.frozen.auroc_change
    assert (change.value, change.low, change.high) == (0, 0, 0)
    assert probe.frozen.cosine == pytest.approx(1)
    assert layer.cka == pytest.approx(1)


def test_a_little_noise_is_valid(folder: Path) -> None:
    layer = survival(folder, "nearly")
    assert layer.probes[0].verdict == "VALID"
    assert layer.probes[0].frozen.evaluation != layer.probes[0].before
    assert layer.cka == pytest.approx(0.99, abs=0.01)
    assert layer.cka != 1


def test_a_rotated_space_is_realignable_and_was_not_valid(folder: Path) -> None:
    layer = survival(folder, "turned")
    (probe,) = layer.probes
    assert probe.verdict == "REALIGNABLE"
    assert probe.frozen.fell(0.05)
    assert layer.cka == pytest.approx(1, abs=1e-5)  # no rotation changes it
    assert probe.rotated.evaluation.auroc.value == pytest.approx(probe.before.auroc.value, abs=1e-3)
    assert probe.frozen.cosine is not None
    assert probe.frozen.cosine < 0.9
    assert probe.rotated.cosine == pytest.approx(1, abs=1e-4)


def test_a_stretched_one_takes_more_than_a_rotation(folder: Path) -> None:
    (probe,) = survival(folder, "stretched").probes
    assert probe.verdict == "REALIGNABLE"
    changes = [min(x.auroc_change.low, x.balanced_change.low) for x in (probe.rotated, probe.ridge)]
    assert changes[0] < -0.02 <= changes[1]


def test_an_independent_space_is_stale_and_unlike(folder: Path) -> None:
    layer = survival(folder, "independent")
    (probe,) = layer.probes
    assert probe.verdict == "STALE"
    assert not any(after.holds(0.05) for after in (probe.frozen, probe.rotated, probe.ridge))
    assert layer.cka == pytest.approx(0, abs=0.1)


def test_an_erased_label_is_stale_in_a_space_that_is_otherwise_the_same(folder: Path) -> None:
    layer = survival(folder, "erased")
    assert layer.probes[0].verdict == "STALE"
    assert layer.cka == pytest.approx(0.9, abs=0.1)  # similarity alone would not have told


def test_a_threshold_that_no_longer_fits_is_not_valid(folder: Path) -> None:
    (probe,) = survival(folder, "offset").probes
    assert probe.frozen.auroc_change.value == pytest.approx(0, abs=1e-6)
    assert probe.frozen.balanced_change.high < -0.05
    assert probe.verdict == "REALIGNABLE"


def test_what_read_nothing_before_has_nothing_that_could_survive(folder: Path) -> None:
    H, y = states(N, 0)
    write(folder, "blind", np.roll(H, 1, axis=0), table(y))  # half of each class as of the other
    (probe,) = survival(folder, "same", old="blind").probes
    assert probe.frozen.holds(0.05)
    assert probe.verdict == "STALE"
    assert "on the old states already" in probe.reason


def test_so_few_groups_that_nothing_changes_show_nothing(folder: Path) -> None:
    """What changes one group in ten is not seen in eight of them, nearly one time in two."""
    H, y = states(N, 0)
    for name, chosen in (
        ("eight", np.arange(32)),
        ("lopsided", np.flatnonzero((y == 0) | (np.arange(N) < 40))),
    ):
        rows = table(y)
        kept = replace(
            table_of([[int(i)] for i in chosen], [f"{rows.groups[i]}" for i in chosen]),
            labels={"warm": y[chosen]},
        )
        write(folder, name, H[chosen], kept)
        write(folder, f"{name} again", H[chosen], kept, model="new")
        (probe,) = survival(folder, f"{name} again", old=name).probes
        assert probe.frozen.balanced_change.low == 0
        assert probe.verdict == "STALE"
        assert "more groups" in probe.reason
    (probe,) = survival(folder, "eight again", old="eight", margin=0.4).probes
    assert probe.verdict == "VALID"


def test_few_rows_show_neither_that_it_holds_nor_that_it_fell(folder: Path) -> None:
    H, y = states(24, 0)
    write(folder, "few", H, table(y))
    write(folder, "few noisy", noisy(H, 0.8), table(y), model="new")
    (probe,) = survival(folder, "few noisy", old="few", margin=0.01).probes
    assert probe.verdict == "STALE"
    assert "more groups" in probe.reason
    assert not probe.frozen.fell(0.01)


def test_maps_fitted_to_other_texts(folder: Path) -> None:
    layer = survival(folder, "turned", unlabelled=["pool", "pool turned"])
    assert (layer.pairs, layer.left_out) == (N, 0)
    assert layer.probes[0].verdict == "REALIGNABLE"
    # Of the texts that are judged none may serve the fit.
    with pytest.raises(TooFewOfClass):
        survival(folder, "turned", unlabelled=["old", "turned"])
    # Pairs of which one side is another model's fit no map.
    assert survival(folder, "turned", unlabelled=["pool", "pool turned"]) == layer
    with pytest.raises(ModelMismatch):
        survival(folder, "turned", unlabelled=["pool turned", "pool"])


def test_labels_have_no_part_in_maps(folder: Path) -> None:
    _, y = states(N, 0)
    other = np.random.default_rng(4).permutation(y)
    path = folder / "other.labels"
    path.write_text("".join(f"{label}\n" for label in other))
    ours = survival(folder, "turned")
    theirs = survival(folder, "turned", labels=path, label_columns=())
    assert ours.cka_ridge == theirs.cka_ridge
    assert ours.probes[0].rotated.evaluation != theirs.probes[0].rotated.evaluation


@pytest.mark.parametrize(
    ("to", "options", "error"),
    [
        ("shorter", {}, NotPaired),
        ("other texts", {}, NotPaired),
        ("bare", {}, NotPaired),
        ("turned", {"margin": 0.5}, BadOption),
        ("turned", {"threshold": 1.5}, BadOption),
        ("turned", {"unlabelled": ["pool"]}, BadOption),
        ("turned", {"label_columns": ["cold"]}, MissingMember),
        ("turned", {"old": "turned"}, ModelMismatch),
        ("layers", {}, LayerMissing),
    ],
)
def test_what_is_refused(
    folder: Path, to: str, options: dict[str, Any], error: type[GotError]
) -> None:
    if to == "layers":
        H, y = states(N, 0)
        path = folder / "layers.gotact"
        write_activations(path, Activations("new", "Fp32", (7,), range(N), H[np.newaxis]))
        write_table(folder / "layers.rows.parquet", table(y))
    with pytest.raises(error):
        survival(folder, to, **options)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "--probes", str(folder / "p.json"), "--unembedding",
               str(folder / "u.gotue"), "--label-column", "warm"]  # fmt: skip
    old, new, trained = (str(folder / f"{name}.gotact") for name in ("old", "turned", "trained"))
    assert main([*command, "--activations", old, "--to", new]) == 0
    shown = capsys.readouterr().out
    assert "REALIGNABLE: probe 'warm'" in shown
    assert main([*command, "--activations", old, "--to", new, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["layers"][0]["probes"][0]["verdict"] == "REALIGNABLE"
    assert main([*command, "--activations", trained, "--to", trained]) == 0
    assert "trained on the old states" in capsys.readouterr().err
    for wrong in (["--layer", "3"], ["--l2", "1"], ["--plot", "p.svg"], []):
        where = ["--activations", old, "--to", new] if wrong else []
        assert main([*command, *where, *wrong]) == 2


def test_what_was_found_is_signed_and_checked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, public, envelope = (tmp_path / name for name in ("key", "key.pub", "t.dsse"))
    assert main(["keygen", "--output", str(secret)]) == 0
    command = ["transfer", "--probes", str(folder / "p.json"), "--unembedding",
               str(folder / "u.gotue"), "--label-column", "warm", "--activations",
               str(folder / "old.gotact")]  # fmt: skip
    to = ["--to", str(folder / "turned.gotact")]
    sign = ["--key", str(secret), "--dsse", str(envelope), "--timestamp", "1700000000"]
    assert main([*command, *to, *sign]) == 0
    signed = envelope.read_bytes()
    assert main([*command, *to, *sign]) == 0
    assert envelope.read_bytes() == signed
    check = ["--check", str(envelope), "--pubkey", str(public)]
    capsys.readouterr()
    assert main([*command, *to, *check]) == 0
    assert "MATCH" in capsys.readouterr().err
    assert main(["show", str(envelope)]) == 0
    assert "REALIGNABLE" in capsys.readouterr().out
    # Of other states, by another rule, or by another key it is not what was signed.
    assert main([*command, "--to", str(folder / "nearly.gotact"), *check]) == 1
    assert main([*command, *to, "--margin", "0.04", *check]) == 1
    assert main(["keygen", "--output", str(tmp_path / "other")]) == 0
    assert main([*command, *to, *check[:-1], str(tmp_path / "other.pub")]) == 1
    # Nothing else is written over, and the options go together.
    assert main([*command, *to, *sign[:2], "--dsse", str(public)]) == 1
    assert main([*command, *to, *sign[:2]]) == 2
    assert main([*command, *to, *check[:2]]) == 2
    assert main([*command, *to, *sign[4:]]) == 2


def test_a_threshold_of_the_probe_itself_decides(folder: Path) -> None:
    probe_set = read_probe_set(folder / "p.json")
    training = probe_set.training
    assert training is not None
    strict = Thresholds(benign=False, groups=30, one_percent=2.0)
    card = replace(training.cards[0], thresholds=strict)
    own = replace(probe_set, training=replace(training, cards=(card,)))
    write_file(folder / "own.json", own.to_json())
    ours, theirs = (
        survival(folder, "turned", probes=folder / f"{name}.json").probes[0]
        for name in ("own", "p")
    )
    assert (ours.threshold, ours.own, theirs.threshold, theirs.own) == (None, strict, 0.5, None)
    assert ours.before.auroc == theirs.before.auroc
    assert ours.before.at_threshold != theirs.before.at_threshold
    again = survival(folder, "turned", probes=folder / "own.json", threshold=0.5).probes[0]
    assert again == theirs
