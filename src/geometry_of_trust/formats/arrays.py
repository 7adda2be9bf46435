"""The two frozen arrays of the flow, activations and unembedding, and what they may hold.

The checks are the one validate that reading, writing and building in memory share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from geometry_of_trust.documents import codes
from geometry_of_trust.errors import (
    BadArray,
    BadHeader,
    LayerMissing,
    LayerOrder,
    NonFinite,
    PositionMissing,
    PositionOrder,
    UnknownPrecision,
    ZeroState,
)
from geometry_of_trust.formats.mapped_arrays import settled

Layout = codes.Layout

PRECISIONS = tuple(codes.PRECISION_CODES)
"""Names of the precision tags, at the index that stands in the file."""

MAX_MODEL_ID_BYTES = 4096
MAX_LAYERS = 65536
MAX_U32 = 2**32 - 1
FLOAT32 = np.dtype("<f4")
"""The type of all stored values; little-endian also where the machine is not."""

CHUNK_BYTES = 8 * 2**20
"""How much of a file is looked at, or prepared for writing, at a time."""


def check_counts(where: str, **counts: int) -> None:
    """BadHeader unless each count is from 1 to what its field can hold."""
    for name, count in counts.items():
        limit = MAX_LAYERS if name == "num_layers" else MAX_U32
        if not 1 <= count <= limit:
            raise BadHeader(where, expected=f"{name} from 1 to {limit}", found=count)


def check_model_id(where: str, length: int) -> None:
    """BadHeader if a model id of `length` bytes is too long."""
    if length > MAX_MODEL_ID_BYTES:
        raise BadHeader(
            where,
            expected=f"a model id of at most {MAX_MODEL_ID_BYTES} bytes",
            found=f"{length} bytes",
        )


def check_layers(where: str, layers: Sequence[int]) -> None:
    """LayerOrder unless the layer indices ascend; BadHeader if one does not fit its field."""
    previous = -1
    for layer in layers:
        if not 0 <= layer <= MAX_U32:
            raise BadHeader(where, expected=f"layer indices from 0 to {MAX_U32}", found=layer)
        if layer <= previous:
            raise LayerOrder(
                where,
                expected="ascending layer indices, each once",
                found=f"{layer} after {previous}",
            )
        previous = layer


def _as_float64(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """A contiguous copy, in the same shape; a signalling NaN is one without a warning, too."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64, order="C")


def _read_only(where: str, values: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    if values.ndim != dimensions or values.dtype != FLOAT32:
        raise BadArray(
            where,
            expected=f"a float32 array of {dimensions} dimensions",
            found=f"{values.dtype} of {values.ndim} dimensions",
        )
    view = values.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Activations:
    """Residual-stream states of one text: what a `.gotact` file holds.

    Attributes:
        model_id: name of the model, at most 4096 bytes of UTF-8.
        precision: one of `PRECISIONS`: the type that the model ran in; values are float32 always.
        layers: layer indices, ascending.
        positions: `range(P)`.
        values: shape (layers, positions, d), float32, read-only. Of a file: a view of its bytes,
            strided, perhaps unaligned, not checked for NaN; `layer` and `row` check. A large file
            is mapped: who reads these values without `settled` reads what it holds then.
        layout: which of the two byte layouts the file has, or will have when written.
        source: what errors call these activations: the path of the file.

    Raises:
        BadHeader, BadArray, UnknownPrecision, LayerOrder, PositionOrder: as in a file.
    """

    model_id: str
    precision: str
    layers: tuple[int, ...]
    positions: range
    values: NDArray[np.float32]
    layout: Layout = "per-layer"
    source: str = "activations"

    def __post_init__(self) -> None:
        where = self.source
        object.__setattr__(self, "values", _read_only(where, self.values, 3))
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        layers, positions, d = self.values.shape
        check_counts(where, hidden_dim=d, num_layers=layers, num_positions=positions)
        try:
            check_model_id(where, len(self.model_id.encode()))
        except UnicodeEncodeError:
            raise BadHeader(where, expected="a model id in UTF-8", found="surrogates") from None
        if self.precision not in PRECISIONS:
            raise UnknownPrecision(where, expected=", ".join(PRECISIONS), found=self.precision)
        if self.layout not in get_args(Layout):
            raise BadArray(where, expected=" or ".join(get_args(Layout)), found=self.layout)
        if len(self.layers) != layers:
            raise BadArray(where, expected=f"{layers} layer indices", found=len(self.layers))
        check_layers(where, self.layers)
        if self.positions != range(positions):
            raise PositionOrder(where, expected=range(positions), found=self.positions)

    @property
    def hidden_dim(self) -> int:
        """Dimension d of the residual stream."""
        return int(self.values.shape[2])

    def chosen(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        """The layers asked for, in that order; None: all. Those below 0 count from the last here.

        Raises:
            LayerMissing: there is no such layer; the error says which there are.
        """
        asked = self.layers if layers is None else layers
        counted = {-k: layer for k, layer in enumerate(reversed(self.layers), 1)}
        return tuple(self.layers[self._index(counted.get(layer, layer))] for layer in asked)

    def _index(self, layer: int) -> int:
        if layer not in self.layers:
            have = ", ".join(str(index) for index in self.layers[:100])
            raise LayerMissing(self.source, expected=f"one of the layers {have}", found=layer)
        return self.layers.index(layer)

    def states(self, layer: int) -> NDArray[np.float32]:
        """The states of one layer as they are stored: (P, d), a view, not checked for NaN.

        Raises:
            LayerMissing: there is no such layer; the error says which there are.
        """
        states: NDArray[np.float32] = self.values[self._index(layer)]
        return states

    def layer(self, index: int) -> NDArray[np.float64]:
        """The states of layer `index`: (P, d) float64, a contiguous copy, all finite.

        Raises:
            LayerMissing: there is no such layer; the error says which there are.
            NonFinite: NaN or an infinity; the error names layer and position.
        """
        states = _as_float64(settled(self.values[self._index(index)]))
        self._check_finite(states, index, 0)
        return states

    def rows(self, layer: int, start: int, stop: int) -> NDArray[np.float64]:
        """The states of one layer from a position to before another: (k, d) float64, all finite.

        Raises:
            LayerMissing, NonFinite: as for `layer`.
        """
        states = _as_float64(settled(self.values[self._index(layer), start:stop]))
        self._check_finite(states, layer, start)
        return states

    def row(self, layer: int, position: int) -> NDArray[np.float64]:
        """The state of one layer at one position: (d,) float64, all finite.

        Raises:
            LayerMissing, NonFinite: as for `layer`.
            PositionMissing: there is no such position.
        """
        k = self._index(layer)
        if position not in self.positions:
            raise PositionMissing(
                self.source, expected=f"a position from 0 to {self.positions[-1]}", found=position
            )
        state = _as_float64(settled(self.values[k, position]))
        self._check_finite(state[np.newaxis], layer, position)
        return state

    def _check_finite(self, states: NDArray[np.float64], layer: int, first: int) -> None:
        finite = np.isfinite(states)
        if not finite.all():
            p, j = np.argwhere(~finite)[0]
            raise NonFinite(
                f"{self.source}, layer {layer}, position {first + p}",
                expected="finite numbers",
                found=f"{states[p, j]} at index {j}",
            )


def check_not_zero(where: str, states: NDArray[np.floating]) -> None:
    """Refuse states that say nothing: a layer that did not run, weights that were not loaded.

    Args:
        where: what errors call the states. states: shape (P, d).

    Raises:
        ZeroState: one is zero in every coordinate; the error names its place, and how many are.
    """
    zero = ~states.any(axis=1)
    if zero.any():
        first, count = int(zero.argmax()), int(zero.sum())
        raise ZeroState(
            f"{where}, position {first}",
            expected="a state",
            found=f"zeros alone, as at {count} of {len(states)} positions"
            if count > 1
            else "zeros",
            hint="Extract again, and look at the weights: the layer did nothing.",
        )


@dataclass(frozen=True, eq=False)
class Unembedding:
    """The unembedding matrix U of a model: what a `.gotue` file holds.

    Attributes:
        values: shape (V, d), float32, one row a token, read-only. Of a file: a view of its bytes,
            unaligned, not checked for NaN; `blocks` checks. A large file is mapped, as there.
        source: what errors call this unembedding: the path of the file.

    Raises:
        BadArray, BadHeader: not float32, not of two dimensions, or empty.
    """

    values: NDArray[np.float32]
    source: str = "unembedding"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _read_only(self.source, self.values, 2))
        check_counts(self.source, vocab_size=self.vocab_size, hidden_dim=self.hidden_dim)

    @property
    def vocab_size(self) -> int:
        """Number V of rows."""
        return int(self.values.shape[0])

    @property
    def hidden_dim(self) -> int:
        """Dimension d of a row."""
        return int(self.values.shape[1])

    def blocks(self, rows: int) -> Iterator[NDArray[np.float64]]:
        """The matrix in blocks of at most `rows` rows: float64, C-contiguous copies, all finite.

        Raises:
            NonFinite: NaN or an infinity; the error names the token's row.
        """
        for start in range(0, self.vocab_size, rows):
            block = _as_float64(settled(self.values[start : start + rows]))
            finite = np.isfinite(block)
            if not finite.all():
                r, j = np.argwhere(~finite)[0]
                raise NonFinite(
                    f"{self.source}, row {start + r}",
                    expected="finite numbers",
                    found=f"{block[r, j]} at index {j}",
                )
            yield block
