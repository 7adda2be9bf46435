"""How many probes that know nothing pass: the figures of docs/intervene.md.

Random directions as probes of a tiny model in which one direction was planted
(`tests/planted_model.py`), each held against 99 random directions of its own, by the rules of
`got-cli intervene` and by the reference's ratio; then the planted direction itself. Takes some
minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from geometry_of_trust.corpus.options import RowOptions
from geometry_of_trust.documents.interventions import MEASURES
from geometry_of_trust.extraction import running
from geometry_of_trust.extraction.intervening import Continuing, logits_of
from geometry_of_trust.extraction.options import ExtractionOptions
from geometry_of_trust.extraction.quiet import running_model
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.extraction.tokenizing import encode
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.intervening.intervene import intervene, measured
from geometry_of_trust.probing.random_directions import directions
from planted_model import LAYER, TARGETS, plant
from tiny_models import HIDDEN, LAYERS, quick

TEXTS = 8
REFERENCE_DELTA, REFERENCE_THRESHOLD = 1.0, 0.5


def reference_passes(
    going_on: Continuing, ids: list[int], state: np.ndarray, w: np.ndarray
) -> bool:
    """The reference's causal check (its consistency above the threshold), with the logits as F."""
    step = (REFERENCE_DELTA * w / np.linalg.norm(w)).astype(np.float32)
    states = torch.from_numpy(np.stack([state, state + step, state - step]))
    plain, *moved = logits_of(going_on.runner, going_on.layer, ids, states).double()
    plus, minus = (float((logits - plain).norm()) for logits in moved)
    ratio = min(plus / minus, minus / plus)
    even = abs(plus - minus) / max(plus, minus) < 1e-6
    return (ratio if even or plus >= minus else -ratio) > REFERENCE_THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=400)
    count = parser.parse_args().probes
    with tempfile.TemporaryDirectory() as place, quick(), running_model():
        folder = Path(place)
        planted = plant(folder)
        options = ExtractionOptions(device="cpu", reproducible=True)
        to = folder / "b.gotact", folder / "b.gotue"
        opened = running.open_model(
            Request.of(planted.model, [LAYER], *to, options), lambda message: None
        )
        runner = running.load(opened, LAYERS, once=False)
        lines = planted.corpus.read_text().splitlines()[:TEXTS]
        texts = [json.loads(line)["text"] for line in lines]
        ids = [encoded.ids for encoded in encode(opened.tokenizer, texts)]
        targets = [encode(opened.tokenizer, [w], add_special=False)[0].ids[0] for w in TARGETS]
        going_on = Continuing(runner, LAYER, targets)
        states = going_on.states(ids)
        geometry = Geometry.from_unembedding(np.concatenate(list(runner.unembedding_rows())))
        lower = np.linalg.cholesky(geometry.matrix().astype(np.float64))
        labels, centred = np.arange(TEXTS) % 2, states - states.mean(axis=0)
        kinds: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
            "isotropic": lambda rng: np.linalg.solve(lower.T, rng.normal(size=HIDDEN)),
            "out of the states": lambda rng: rng.choice([-1, 1], size=TEXTS) @ centred,
        }
        for kind, drawn in kinds.items():
            rng = np.random.default_rng(0)
            passed = dict.fromkeys([*MEASURES, "the reference's"], 0)
            for seed in range(count):
                w = drawn(rng).astype(np.float32)
                found = directions(w, geometry, states, 99, seed)
                of_labels = labels if seed % 2 else None
                effects = measured(going_on, ids, states, found, 2.0, labels=of_labels)
                for name, measure in MEASURES.items():
                    own, *others = map(measure, effects.of_each)
                    passed[name] += 1 + sum(x >= own for x in others) <= 5
                passed["the reference's"] += reference_passes(going_on, ids[0], states[0], w)
            print(f"of {count} random directions, {kind}, pass at p <= 0.05 (or by that ratio):")
            for name, times in passed.items():
                print(f"{name:<18}{times:>5}  {100 * times / count:.1f} %")
        rows = RowOptions(limit=12, label_columns=("high",))
        for name, v in (("planted", planted.v), ("planted, reversed", -planted.v)):
            probe = planted.probe_of(v, folder / "probe.json")
            result = intervene(planted.model, probe, planted.corpus, TARGETS, row_options=rows)
            print(
                f"{name}: DETECTS {result.detects}, STEERS {result.steers} (p = "
                f"{float(result.p('steering')):.2f}), NECESSARY {result.necessary} (p = "
                f"{float(result.p('fall')):.2f})"
            )


if __name__ == "__main__":
    main()
