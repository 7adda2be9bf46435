"""Time of fitting a probe, against scikit-learn's own search for the penalty.

Synthetic states of dimension 576; the peer is `LogisticRegressionCV` on the same
coordinates, the same ten-odd penalties and five folds. Alternating runs; medians.
`train` itself adds the card: the whole command is in the last column.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegressionCV

from geometry_of_trust.formats.arrays import Activations
from geometry_of_trust.geometry.inner_product import Geometry
from geometry_of_trust.probing import training
from geometry_of_trust.probing.causal_probe import CausalProbe
from geometry_of_trust.probing.cross_validation import L2_GRID
from geometry_of_trust.probing.penalty import Penalty

D, RUNS = 576, 3


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    geometry = Geometry.from_unembedding(rng.normal(size=(4096, D)).astype(np.float32))
    print(f"d = {D}, {len(L2_GRID)} penalties, 5 folds; median seconds of {RUNS} runs")
    print("rows     ours   LogisticRegressionCV   ours / peer   train with card")
    for rows in (150, 400):
        y = (np.arange(rows) % 4 == 0).astype(np.int8)
        values = rng.normal(size=(1, rows, D)).astype(np.float32)
        values[0, :, 0] += 2 * y
        states = Activations("synthetic", "Fp32", (0,), range(rows), values)
        H = states.layer(0)
        X = Penalty.of(H, geometry).coordinates(H)
        X /= np.median(np.linalg.norm(X, axis=1))
        penalties = [1 / (rows * strength) for strength in L2_GRID]
        options: dict[str, Any] = {"solver": "newton-cholesky", "cv": 5, "max_iter": 200}
        peer = LogisticRegressionCV(
            Cs=penalties, scoring="neg_log_loss", use_legacy_attributes=False,
            l1_ratios=(0,), **options,
        )  # fmt: skip

        def ours(states: Activations = states, y: Any = y) -> None:
            CausalProbe(gram=geometry).fit(states.layer(0), y)

        def whole(states: Activations = states, y: Any = y) -> None:
            training.train(states, y, geometry, layer=0)

        times: dict[str, list[float]] = {"ours": [], "peer": [], "whole": []}
        for _ in range(RUNS):
            times["ours"].append(seconds(ours))
            times["whole"].append(seconds(whole))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                times["peer"].append(seconds(lambda peer=peer, X=X, y=y: peer.fit(X, y)))  # type: ignore[misc]
        ratio = median(a / b for a, b in zip(times["ours"], times["peer"], strict=True))
        fit, other, card = (median(times[name]) for name in ("ours", "peer", "whole"))
        print(f"{rows:4}   {fit:6.2f}   {other:20.2f}   {ratio:11.2f}   {card:15.2f}")


if __name__ == "__main__":
    main()
