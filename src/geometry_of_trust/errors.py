"""One small exception tree: every refusal has its class, and every class an exit code.

An error says where, what was expected and what was found; what to do is its hint. Tests look at
the class and the fields, never at the message.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from geometry_of_trust.terminal import escaped


def brief(error: BaseException) -> str:
    """The class and the first line of an error of somebody else's; with what a colon announces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    while len(lines) > 1 and lines[0].endswith(":"):
        lines[:2] = [f"{lines[0]} {lines[1]}"]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


class GotError(Exception):
    """Base of all errors that this package raises on purpose.

    Attributes:
        where: the file, field or option concerned.
        expected: what would have been accepted.
        found: what was there instead.
        hint: what to do about it; may be empty.
        exit_code: what the command line returns (1 refused, 2 usage, 3 unreadable or malformed).
    """

    exit_code = 1
    hint_default = ""

    def __init__(
        self,
        where: str | os.PathLike[str],
        *,
        expected: object = "",
        found: object = "",
        hint: str = "",
    ) -> None:
        self.where = os.fspath(where)
        self.expected = str(expected)
        self.found = str(found)
        self.hint = hint or self.hint_default
        super().__init__(self.where, self.expected, self.found, self.hint)

    def __reduce__(self) -> tuple[Callable[..., GotError], tuple[object, ...], dict[str, object]]:
        # An exception would be made again by calling its class with its positional arguments,
        # which fits no constructor here. One of ours that caused it goes along; one of somebody
        # else's may be anything.
        state = dict(vars(self))
        if isinstance(self.__cause__, GotError):
            state["__cause__"] = self.__cause__
        return _blank, (type(self), *self.args), state

    @property
    def what(self) -> str:
        """Where, what was expected and what was found, without the hint."""
        parts = [f"expected {escaped(self.expected)}"] if self.expected else []
        parts += [f"found {escaped(self.found)}"] if self.found else []
        return f"{escaped(self.where)}: {', '.join(parts)}"

    def __str__(self) -> str:
        return f"{self.what}. {self.hint}" if self.hint else self.what


def _blank(cls: type[GotError], *arguments: object) -> GotError:
    """An error of this class without attributes, which are set afterwards."""
    return cls.__new__(cls, *arguments)


# --- exit code 1: understood, and refused -----------------------------------------------------


class Refusal(GotError):
    """The input was understood and is refused."""


class NonFinite(Refusal):
    """A NaN or an infinity where a number is needed."""


class ZeroState(Refusal):
    """A state that is zero in every coordinate, as no model that runs has one."""


class ConstantState(Refusal):
    """A state that is the same whatever its token is, as no model that reads has one."""


class LayerMissing(Refusal):
    """The activations do not hold the layer asked for."""


class PositionMissing(Refusal):
    """The activations do not hold the position asked for."""


class TokensMissing(Refusal):
    """A text has none of the tokens asked for."""


class NotOneToken(Refusal):
    """A target of an intervention that is not one token of the model."""


class AmbiguousTurns(Refusal):
    """The tokens of a turn cannot be told from what the chat template writes around them."""


class LabelCount(Refusal):
    """The number of labels is not the number of positions."""


class OneClass(Refusal, ValueError):
    """All labels are of one class. A ValueError too, as scikit-learn's conventions ask."""


class TooManyClasses(Refusal, ValueError):
    """Labels of more than two classes."""


class TooFewOfClass(Refusal, ValueError):
    """A class has fewer than two labels, or lies in fewer than two groups."""


class TooFewGroups(Refusal, ValueError):
    """Too few groups to hold some of them out for a final test."""


class GroupCount(Refusal, ValueError):
    """The number of group numbers is not the number of rows."""


class DimensionMismatch(Refusal):
    """The hidden dimensions of two inputs differ."""


class ModelMismatch(Refusal):
    """Two inputs name different models."""


class OtherTokens(Refusal):
    """A probe would be read at other tokens than it was trained on."""


class PrecisionMismatch(Refusal):
    """Two inputs carry different precision tags."""


class GeometryMismatch(Refusal):
    """Two inputs were made under different geometries."""


class NotPositiveDefinite(Refusal):
    """Φ cannot be made positive definite with the epsilon given."""


class DidNotConverge(Refusal):
    """The solver stopped before the optimum."""


class RecordMismatch(Refusal):
    """The extraction record describes other files than those given."""


class NotPaired(Refusal):
    """Rows of two activations files that are not the same tokens of the same texts."""

    hint_default = "Extract both from the same texts, with the same options for rows."


class ProvenanceMissing(Refusal):
    """A probe set does not say what it was trained on."""


class ResumeMismatch(Refusal):
    """An interrupted run that was started with other settings, or on other data."""


class RunInProgress(Refusal):
    """Another run into the same output goes on, or was interrupted and can be resumed."""


class Interrupted(Refusal):
    """A run was stopped by the user, and can be resumed."""

    exit_code = 130


class NoSpace(Refusal):
    """The disk has not enough room for the output."""


class CheckFailed(Refusal):
    """A self-check before a corpus run exceeds its bound."""


class NoCluster(Refusal):
    """A Ray cluster that cannot be reached, or has not the processors that workers need."""


class WorkerDiffers(Refusal):
    """A worker of a cluster whose program or values are not those of this machine."""


class WorkerLost(Refusal):
    """Workers of a cluster stopped, and starting them again did not help."""


class OutputExists(Refusal):
    """An output file exists and is never replaced: a key, edited labels, or any, by keygen."""


class UnsafeFolder(Refusal):
    """A folder in which another user could put another file, or a link, in the place of one."""

    hint_default = "Use a folder of your own that only you can write to."


class UnsafeKeyPermissions(Refusal):
    """A secret that others can read."""


class NotOwned(Refusal):
    """A secret in a file of another user."""


class WeakKey(Refusal):
    """A secret key that anybody can guess."""


class KeyPairMismatch(Refusal):
    """The public key beside a secret key belongs to another one."""


class WrongKeyKind(Refusal):
    """A public key where a secret one is needed, or the reverse; or one of another algorithm."""


class LowOrderKey(Refusal):
    """A public key of low order, under which one signature fits every message."""


class BadPassphrase(Refusal):
    """The passphrase is missing or does not open the key."""


class LimitExceeded(Refusal):
    """A length beyond its documented limit."""


class TimestampInFuture(Refusal):
    """A timestamp more than 300 s ahead of the clock."""


class NotOurSpelling(Refusal):
    """The document is not, byte for byte, the text that is written for its content."""


class Inconsistent(Refusal):
    """Two members of one document contradict each other."""


class BadSignature(Refusal):
    """The signature does not verify."""


class LegacyDocument(Refusal):
    """An attestation in a form that leaves members unsigned or unbound."""


class BindingMismatch(Refusal):
    """The binding is not the one that was signed, or it disagrees with the attestation."""


class UnknownSigner(Refusal):
    """A document by a key that is none of those expected, or that the keyring does not list."""


class KeyNotValid(Refusal):
    """A key that the keyring lists for something else, or not for the time that is stated."""


class HistoryGap(Refusal):
    """A document of a history whose predecessor is not there, or a history without beginning."""


class HistoryFork(Refusal):
    """Two documents of a history that follow the same one, that both begin it, or are the same."""


class HistoryOrder(Refusal):
    """A document whose number or time does not follow from the one before it."""


class DigestMismatch(Refusal):
    """A supplied file is not the one that was bound."""


class ContentMismatch(Refusal):
    """A supplied file is the one that was bound, and says something else than what was signed."""


class AlteredDownload(Refusal):
    """A file in the hub's cache that is not the one that its name there says."""

    hint_default = "Download it again, or copy the folder elsewhere if the change is meant."


class OtherModel(Refusal):
    """Files or tensors of a model that are not those that were signed or recorded."""


class NotTheMatrix(Refusal):
    """A matrix that is not the named tensor of the model, converted."""


class FileChanged(Refusal):
    """A file was written to while it was read."""

    hint_default = "Wait until nothing writes to it, and run again."


class ReadingsMismatch(Refusal):
    """Recomputed readings differ from the signed ones."""


class UnknownCorpus(Refusal):
    """No such folder of data files or dataset, on this machine or on the hub."""


class ExtractionRefused(Refusal):
    """Base of the refusals of an extraction."""


class LayerOutOfRange(ExtractionRefused):
    """A layer that the model does not have."""


class WrongStream(ExtractionRefused):
    """A residual stream that the model does not have, or none chosen where it has several."""


class TextTooLong(ExtractionRefused):
    """The text has more tokens than the model's context."""


class UnknownModel(ExtractionRefused):
    """No such model on this machine or on the hub."""


class NoTokenizer(ExtractionRefused):
    """The model comes without a tokenizer."""


class TokenizerFailed(ExtractionRefused):
    """The model's tokenizer stopped with an error."""


class OutsideOfModel(ExtractionRefused):
    """A model that names files outside of its own folder."""


class UnsupportedArchitecture(ExtractionRefused):
    """The blocks or the unembedding could not be found in the model."""


class UntrustedCode(ExtractionRefused):
    """The model comes with its own code, and running that was not allowed."""


class AdapterNotNamed(ExtractionRefused):
    """A folder with an adapter in it that was not asked for, beside a model or without one."""


class BadAdapter(ExtractionRefused):
    """An adapter that cannot be read, or that cannot be applied to this model as it is."""


class QuantizedModel(ExtractionRefused):
    """A model that comes quantised in a way in which it cannot be loaded here."""


class IncompleteModel(ExtractionRefused):
    """Weights that are missing or of other shapes than the model's; they would be random."""


class ModelFailed(ExtractionRefused):
    """The model's own code stopped with an error."""


class NotCausal(ExtractionRefused):
    """A model whose states depend on later tokens, which was not allowed."""

    hint_default = (
        "It is no causal model, or not set up as one; --allow-bidirectional runs it all the same, "
        "and its record and attestations say so."
    )


class NoDevice(ExtractionRefused):
    """The device asked for is not there."""


# --- exit code 2: the command itself ----------------------------------------------------------


class UsageError(GotError):
    """The arguments cannot be right, whatever the files hold."""

    exit_code = 2


class EmptyText(UsageError):
    """The text to extract from is empty."""


class RepeatedLayers(UsageError):
    """A layer is asked for twice."""


class BadOption(UsageError):
    """An option's value is not one of those it takes."""


class OutputIsInput(BadOption):
    """An output that is one of the inputs."""


class BadArray(UsageError):
    """An array of another type or shape than its format stores."""


class MissingExtra(UsageError):
    """A command needs an optional part of the installation."""


class NoKernels(UsageError):
    """The installation lacks the native library of the arithmetic, or has another machine's."""

    hint_default = "Install the wheel for this machine; in a checkout, run `make kernels`."


class UnknownKind(UsageError):
    """A file of a kind that is not converted."""


class WrongKind(UsageError):
    """A destination that does not hold what the source holds."""


class NotNamed(UsageError):
    """Neither the source of a conversion nor an option says what the destination must say."""


# --- exit code 3: cannot be read, written or parsed -------------------------------------------


class MalformedInput(GotError):
    """A file that cannot be read, or is not of its format."""

    exit_code = 3


class Unreadable(MalformedInput):
    """A file that is missing or cannot be opened."""


class Unwritable(MalformedInput):
    """An output that cannot be written."""


class NotAFile(Unwritable):
    """An output that is there and is no plain file: a device, a pipe, a folder."""


class TooLarge(MalformedInput):
    """A file beyond the size that its reader accepts."""


class NotEnoughMemory(MalformedInput):
    """An input that needs more memory than there is."""

    hint_default = "Run it where there is more memory."


class BadMagic(MalformedInput):
    """The first four bytes are not those of the format."""


class UnsupportedVersion(MalformedInput):
    """A format version that is not 1."""


class UnknownPrecision(MalformedInput):
    """A precision tag that the format does not define."""


class ForeignFile(MalformedInput):
    """A file of somebody else's, of a kind that is recognised and not shown."""


class BadHeader(MalformedInput):
    """A header field with an impossible value."""


class Truncated(MalformedInput):
    """A file shorter than its header promises."""


class TrailingBytes(MalformedInput):
    """A file longer than its header promises."""


class LayerOrder(MalformedInput):
    """Layer indices that are repeated or not ascending."""


class PositionOrder(MalformedInput):
    """Positions that do not count 0, 1, 2 …"""


class LayerIndexChanged(MalformedInput):
    """In the per-position layout, a layer index that changes inside its layer."""


class BadLabel(MalformedInput):
    """A label other than 0, 1, true or false."""


class BadRowTable(MalformedInput):
    """A Parquet file that is not a row table, or does not fit its activations."""


class BadReadings(MalformedInput):
    """A Parquet file that does not hold the readings of a document, by its columns and rows."""


class BadLabelTable(MalformedInput):
    """A table of labels that is neither CSV nor Parquet, or whose columns cannot be told apart."""


class BadTensors(MalformedInput):
    """A safetensors or .npy file that is malformed, or does not hold what is converted."""


class BadGguf(MalformedInput):
    """A GGUF file that is malformed, or of a version or with types that are not read here."""


class BadBundle(MalformedInput):
    """Not a Sigstore bundle with a statement of the kind expected, signed by a key."""


class BadTable(MalformedInput):
    """A Parquet file that does not hold activations or an unembedding, row by row."""


class BadChat(MalformedInput):
    """A chat that the tokenizer's template does not take."""


class BadCorpus(MalformedInput):
    """A corpus, or a row of it, that is not of its kind."""


class MissingColumn(MalformedInput):
    """A corpus or a table of labels without a column that is asked for."""


class BadText(MalformedInput):
    """Bytes that are not UTF-8."""


class BadJson(MalformedInput):
    """Not JSON, or JSON outside the strict subset read here."""


class DuplicateMember(BadJson):
    """A JSON member that appears twice."""


class UnknownMember(BadJson):
    """A JSON member that the format does not define."""


class MissingMember(BadJson):
    """A required JSON member that is absent."""


class WrongType(BadJson):
    """A JSON value of another type or range than its member takes."""


class BadKey(MalformedInput):
    """A file that is not an Ed25519 key in a form read here."""
