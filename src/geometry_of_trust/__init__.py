"""Geometry of Trust: measure what a language model represents, and sign the measurement.

The names below are the promise; where they stand inside may change. They are loaded when first
used, so that `verify` needs no numpy, and training and attesting need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from geometry_of_trust.extras import optional
from geometry_of_trust.version import __version__

if TYPE_CHECKING:
    from geometry_of_trust.attesting.attest import attest as attest
    from geometry_of_trust.attesting.row_files import prove_row as prove_row
    from geometry_of_trust.converting.conversion import Converted as Converted
    from geometry_of_trust.converting.conversion import convert as convert
    from geometry_of_trust.converting.in_memory import to_numpy as to_numpy
    from geometry_of_trust.converting.in_memory import to_pandas as to_pandas
    from geometry_of_trust.converting.in_memory import to_torch as to_torch
    from geometry_of_trust.corpus.choosing import Position as Position
    from geometry_of_trust.corpus.corpus_run import CorpusExtraction as CorpusExtraction
    from geometry_of_trust.corpus.entries import Columns as Columns
    from geometry_of_trust.corpus.estimating import Estimate as Estimate
    from geometry_of_trust.corpus.estimating import FileSize as FileSize
    from geometry_of_trust.corpus.extracting import estimate_corpus as estimate_corpus
    from geometry_of_trust.corpus.extracting import extract_corpus as extract_corpus
    from geometry_of_trust.corpus.options import CorpusOptions as CorpusOptions
    from geometry_of_trust.corpus.options import Listener as Listener
    from geometry_of_trust.corpus.options import RowOptions as RowOptions
    from geometry_of_trust.corpus.shifting import Shifter as Shifter
    from geometry_of_trust.documents.aggregates import Aggregate as Aggregate
    from geometry_of_trust.documents.bound_interventions import (
        BoundIntervention as BoundIntervention,
    )
    from geometry_of_trust.documents.evaluations import BoundBar as BoundBar
    from geometry_of_trust.documents.evaluations import BoundLabels as BoundLabels
    from geometry_of_trust.documents.evaluations import Evaluation as Evaluation
    from geometry_of_trust.documents.evaluations import ProbeEvaluation as ProbeEvaluation
    from geometry_of_trust.documents.extraction_record import Check as Check
    from geometry_of_trust.documents.extraction_record import Corpus as Corpus
    from geometry_of_trust.documents.extraction_record import Record as Record
    from geometry_of_trust.documents.extraction_record import RecordedAdapter as RecordedAdapter
    from geometry_of_trust.documents.extraction_record import RecordedGguf as RecordedGguf
    from geometry_of_trust.documents.extraction_record import Token as Token
    from geometry_of_trust.documents.extraction_record import Tower as Tower
    from geometry_of_trust.documents.extraction_record import UnusedWeights as UnusedWeights
    from geometry_of_trust.documents.extraction_record import WrittenFile as WrittenFile
    from geometry_of_trust.documents.extraction_record_reading import read_record as read_record
    from geometry_of_trust.documents.interventions import Effect as Effect
    from geometry_of_trust.documents.interventions import Intervention as Intervention
    from geometry_of_trust.documents.interventions import InterventionTexts as InterventionTexts
    from geometry_of_trust.documents.interventions import ProbeUsed as ProbeUsed
    from geometry_of_trust.documents.interventions import Target as Target
    from geometry_of_trust.documents.interventions import read_intervention as read_intervention
    from geometry_of_trust.documents.probe_card import AtThreshold as AtThreshold
    from geometry_of_trust.documents.probe_card import Bin as Bin
    from geometry_of_trust.documents.probe_card import Card as Card
    from geometry_of_trust.documents.probe_card import Controls as Controls
    from geometry_of_trust.documents.probe_card import Elsewhere as Elsewhere
    from geometry_of_trust.documents.probe_card import Figure as Figure
    from geometry_of_trust.documents.probe_card import PermutationNull as PermutationNull
    from geometry_of_trust.documents.probe_card import Quality as Quality
    from geometry_of_trust.documents.probe_card import Repeats as Repeats
    from geometry_of_trust.documents.probe_card import ShiftFall as ShiftFall
    from geometry_of_trust.documents.recorded_identity import RecordedFile as RecordedFile
    from geometry_of_trust.documents.recorded_identity import RecordedIdentity as RecordedIdentity
    from geometry_of_trust.documents.recorded_identity import RecordedTensor as RecordedTensor
    from geometry_of_trust.documents.recorded_identity import Weights as Weights
    from geometry_of_trust.documents.row_proofs import RowProof as RowProof
    from geometry_of_trust.documents.row_proofs import RowReading as RowReading
    from geometry_of_trust.documents.row_proofs import read_row_proof as read_row_proof
    from geometry_of_trust.documents.thresholds import Thresholds as Thresholds
    from geometry_of_trust.documents.token_choice import TokenChoice as TokenChoice
    from geometry_of_trust.documents.trained_tokens import TrainedTokens as TrainedTokens
    from geometry_of_trust.errors import GotError as GotError
    from geometry_of_trust.evidence.attested import make_evidence as make_evidence
    from geometry_of_trust.evidence.verification_results import (
        make_verification_result as make_verification_result,
    )
    from geometry_of_trust.extraction.one_text import Extraction as Extraction
    from geometry_of_trust.extraction.one_text import extract as extract
    from geometry_of_trust.extraction.options import ExtractionOptions as ExtractionOptions
    from geometry_of_trust.extraction.options import LoadingOptions as LoadingOptions
    from geometry_of_trust.formats.arrays import Activations as Activations
    from geometry_of_trust.formats.arrays import Unembedding as Unembedding
    from geometry_of_trust.formats.gotact import read_activations as read_activations
    from geometry_of_trust.formats.gotact import write_activations as write_activations
    from geometry_of_trust.formats.gotue import read_unembedding as read_unembedding
    from geometry_of_trust.formats.gotue import write_unembedding as write_unembedding
    from geometry_of_trust.formats.labels import read_labels as read_labels
    from geometry_of_trust.formats.row_table import RowTable as RowTable
    from geometry_of_trust.formats.row_table import read_rows as read_rows
    from geometry_of_trust.geometry.checkpoints import Checkpoint as Checkpoint
    from geometry_of_trust.geometry.checkpoints import make_checkpoint as make_checkpoint
    from geometry_of_trust.geometry.checkpoints import open_checkpoint as open_checkpoint
    from geometry_of_trust.geometry.checkpoints import write_checkpoint as write_checkpoint
    from geometry_of_trust.geometry.drift import Moved as Moved
    from geometry_of_trust.geometry.inner_product import Geometry as Geometry
    from geometry_of_trust.geometry.spectrum import Spectrum as Spectrum
    from geometry_of_trust.identity.digest_cache import user_cache as user_cache
    from geometry_of_trust.identity.matrix import check_matrix as check_matrix
    from geometry_of_trust.identity.matrix import find_matrix as find_matrix
    from geometry_of_trust.identity.model_identity import CoveredFile as CoveredFile
    from geometry_of_trust.identity.model_identity import Difference as Difference
    from geometry_of_trust.identity.model_identity import ModelIdentity as ModelIdentity
    from geometry_of_trust.identity.model_identity import (
        identity_differences as identity_differences,
    )
    from geometry_of_trust.identity.model_identity import identity_of as identity_of
    from geometry_of_trust.identity.model_signature import SignedModel as SignedModel
    from geometry_of_trust.identity.model_signature import (
        check_model_signature as check_model_signature,
    )
    from geometry_of_trust.identity.model_signature import check_signed_files as check_signed_files
    from geometry_of_trust.identity.tensor_tree import TensorEntry as TensorEntry
    from geometry_of_trust.identity.tensor_tree import TensorProof as TensorProof
    from geometry_of_trust.intervening.intervene import intervene as intervene
    from geometry_of_trust.probing.calibration_report import Calibration as Calibration
    from geometry_of_trust.probing.calibration_report import CalibrationReport as CalibrationReport
    from geometry_of_trust.probing.calibration_report import (
        calibration_report as calibration_report,
    )
    from geometry_of_trust.probing.causal_probe import CausalProbe as CausalProbe
    from geometry_of_trust.probing.cross_validation import CrossValidation as CrossValidation
    from geometry_of_trust.probing.drifts import DriftReport as DriftReport
    from geometry_of_trust.probing.drifts import ProbeDrift as ProbeDrift
    from geometry_of_trust.probing.drifts import ProbeSetDrift as ProbeSetDrift
    from geometry_of_trust.probing.drifts import measure_drift as measure_drift
    from geometry_of_trust.probing.fitted_range import FittedRange as FittedRange
    from geometry_of_trust.probing.fitted_range import Range as Range
    from geometry_of_trust.probing.layer_choice import DimensionSweep as DimensionSweep
    from geometry_of_trust.probing.layer_choice import FinalTest as FinalTest
    from geometry_of_trust.probing.layer_choice import LayerFigures as LayerFigures
    from geometry_of_trust.probing.layer_choice import Sweep as Sweep
    from geometry_of_trust.probing.layer_sweep import sweep as sweep
    from geometry_of_trust.probing.layer_sweep import sweep_files as sweep_files
    from geometry_of_trust.probing.logistic import LogisticFit as LogisticFit
    from geometry_of_trust.probing.options import FittingOptions as FittingOptions
    from geometry_of_trust.probing.options import InterventionOptions as InterventionOptions
    from geometry_of_trust.probing.options import TrainingOptions as TrainingOptions
    from geometry_of_trust.probing.other_rows import OtherRows as OtherRows
    from geometry_of_trust.probing.other_rows import Others as Others
    from geometry_of_trust.probing.penalty import Penalty as Penalty
    from geometry_of_trust.probing.probe_readings import Reading as Reading
    from geometry_of_trust.probing.probe_readings import read_probe as read_probe
    from geometry_of_trust.probing.probe_set_files import write_probe_sets as write_probe_sets
    from geometry_of_trust.probing.probes import Probe as Probe
    from geometry_of_trust.probing.probes import ProbeSet as ProbeSet
    from geometry_of_trust.probing.probes import Training as Training
    from geometry_of_trust.probing.probes import read_probe_set as read_probe_set
    from geometry_of_trust.probing.score_histogram import ScoreHistogram as ScoreHistogram
    from geometry_of_trust.probing.shift_falls import Shifted as Shifted
    from geometry_of_trust.probing.split_rows import SplitRows as SplitRows
    from geometry_of_trust.probing.survival import After as After
    from geometry_of_trust.probing.survival import ProbeSurvival as ProbeSurvival
    from geometry_of_trust.probing.survival_files import JudgedFiles as JudgedFiles
    from geometry_of_trust.probing.survival_files import LayerSurvival as LayerSurvival
    from geometry_of_trust.probing.survival_files import SurvivalReport as SurvivalReport
    from geometry_of_trust.probing.survival_files import measure_survival as measure_survival
    from geometry_of_trust.probing.token_readings import ProbeReadings as ProbeReadings
    from geometry_of_trust.probing.token_readings import TextReadings as TextReadings
    from geometry_of_trust.probing.token_readings import TokenText as TokenText
    from geometry_of_trust.probing.token_readings import read_tokens as read_tokens
    from geometry_of_trust.probing.training import TrainingContext as TrainingContext
    from geometry_of_trust.probing.training import TrainingResult as TrainingResult
    from geometry_of_trust.probing.training import train as train
    from geometry_of_trust.probing.training_files import train_files as train_files
    from geometry_of_trust.probing.training_files import train_layers as train_layers
    from geometry_of_trust.probing.transfer_matrix import ComparedCorpus as ComparedCorpus
    from geometry_of_trust.probing.transfer_matrix import LayerTransfer as LayerTransfer
    from geometry_of_trust.probing.transfer_matrix import TransferCell as TransferCell
    from geometry_of_trust.probing.transfer_matrix import TransferMatrix as TransferMatrix
    from geometry_of_trust.probing.transfer_matrix import transfer_matrix as transfer_matrix
    from geometry_of_trust.signing.attestation import Attestation as Attestation
    from geometry_of_trust.signing.attestation import read_attestation as read_attestation
    from geometry_of_trust.signing.attestation import write_attestation as write_attestation
    from geometry_of_trust.signing.binding import Binding as Binding
    from geometry_of_trust.signing.binding import BoundActivations as BoundActivations
    from geometry_of_trust.signing.binding import BoundCorpus as BoundCorpus
    from geometry_of_trust.signing.binding import BoundGeometry as BoundGeometry
    from geometry_of_trust.signing.binding import BoundModel as BoundModel
    from geometry_of_trust.signing.binding import BoundProbeSet as BoundProbeSet
    from geometry_of_trust.signing.binding import BoundReadings as BoundReadings
    from geometry_of_trust.signing.binding import BoundRecord as BoundRecord
    from geometry_of_trust.signing.binding import BoundUnembedding as BoundUnembedding
    from geometry_of_trust.signing.key_making import generate_key_files as generate_key_files
    from geometry_of_trust.signing.keyrings import KeyEntry as KeyEntry
    from geometry_of_trust.signing.keyrings import Keyring as Keyring
    from geometry_of_trust.signing.keyrings import load_keyring as load_keyring
    from geometry_of_trust.signing.keyrings import new_keyring as new_keyring
    from geometry_of_trust.signing.keyrings import with_key as with_key
    from geometry_of_trust.signing.keyrings import with_revocation as with_revocation
    from geometry_of_trust.signing.keys import PublicKey as PublicKey
    from geometry_of_trust.signing.keys import SecretKey as SecretKey
    from geometry_of_trust.signing.keys import load_public_key as load_public_key
    from geometry_of_trust.signing.keys import load_secret_key as load_secret_key
    from geometry_of_trust.signing.reference_members import CausalScore as CausalScore
    from geometry_of_trust.signing.reference_members import CurvaturePoint as CurvaturePoint
    from geometry_of_trust.signing.reference_members import CurvatureReading as CurvatureReading
    from geometry_of_trust.signing.reference_members import DensityPoint as DensityPoint
    from geometry_of_trust.signing.reference_members import DensityReading as DensityReading
    from geometry_of_trust.signing.reference_members import DirectionalDrift as DirectionalDrift
    from geometry_of_trust.signing.reference_members import DomainScope as DomainScope
    from geometry_of_trust.signing.reference_members import PermittedDomain as PermittedDomain
    from geometry_of_trust.signing.signed_bytes import InnerProductTag as InnerProductTag
    from geometry_of_trust.verifying.history import History as History
    from geometry_of_trust.verifying.history import HistoryLink as HistoryLink
    from geometry_of_trust.verifying.history import HistoryRefused as HistoryRefused
    from geometry_of_trust.verifying.history import verify_history as verify_history
    from geometry_of_trust.verifying.reproduce import reproduce as reproduce
    from geometry_of_trust.verifying.reproduction import Link as Link
    from geometry_of_trust.verifying.reproduction import Reproduction as Reproduction
    from geometry_of_trust.verifying.verdict import Refused as Refused
    from geometry_of_trust.verifying.verdict import Step as Step
    from geometry_of_trust.verifying.verdict import Verdict as Verdict
    from geometry_of_trust.verifying.verify import verify as verify

_NAMES = {
    "attesting.attest": ("attest",),
    "attesting.row_files": ("prove_row",),
    "converting.conversion": ("Converted", "convert"),
    "converting.in_memory": ("to_numpy", "to_pandas", "to_torch"),
    "corpus.choosing": ("Position",),
    "corpus.corpus_run": ("CorpusExtraction",),
    "corpus.entries": ("Columns",),
    "corpus.estimating": ("Estimate", "FileSize"),
    "corpus.extracting": ("estimate_corpus", "extract_corpus"),
    "corpus.options": ("CorpusOptions", "Listener", "RowOptions"),
    "corpus.shifting": ("Shifter",),
    "documents.evaluations": (
        "BoundBar",
        "BoundLabels",
        "Evaluation",
        "ProbeEvaluation",
    ),
    "documents.extraction_record": (
        "Check",
        "Corpus",
        "Record",
        "RecordedAdapter",
        "RecordedGguf",
        "Token",
        "Tower",
        "UnusedWeights",
        "WrittenFile",
    ),
    "documents.extraction_record_reading": ("read_record",),
    "documents.bound_interventions": ("BoundIntervention",),
    "documents.interventions": (
        "Effect",
        "Intervention",
        "InterventionTexts",
        "ProbeUsed",
        "Target",
        "read_intervention",
    ),
    "documents.probe_card": (
        "AtThreshold",
        "Bin",
        "Card",
        "Controls",
        "Elsewhere",
        "Figure",
        "PermutationNull",
        "Quality",
        "Repeats",
        "ShiftFall",
    ),
    "documents.recorded_identity": (
        "RecordedFile",
        "RecordedIdentity",
        "RecordedTensor",
        "Weights",
    ),
    "documents.aggregates": ("Aggregate",),
    "documents.row_proofs": ("RowProof", "RowReading", "read_row_proof"),
    "documents.thresholds": ("Thresholds",),
    "documents.token_choice": ("TokenChoice",),
    "documents.trained_tokens": ("TrainedTokens",),
    "errors": ("GotError",),
    "evidence.attested": ("make_evidence",),
    "evidence.verification_results": ("make_verification_result",),
    "extraction.one_text": ("Extraction", "extract"),
    "extraction.options": ("ExtractionOptions", "LoadingOptions"),
    "formats.arrays": ("Activations", "Unembedding"),
    "formats.gotact": ("read_activations", "write_activations"),
    "formats.gotue": ("read_unembedding", "write_unembedding"),
    "formats.labels": ("read_labels",),
    "formats.row_table": ("RowTable", "read_rows"),
    "geometry.checkpoints": (
        "Checkpoint",
        "make_checkpoint",
        "open_checkpoint",
        "write_checkpoint",
    ),
    "geometry.drift": ("Moved",),
    "geometry.inner_product": ("Geometry",),
    "geometry.spectrum": ("Spectrum",),
    "identity.digest_cache": ("user_cache",),
    "identity.matrix": (
        "check_matrix",
        "find_matrix",
    ),
    "identity.model_identity": (
        "CoveredFile",
        "Difference",
        "ModelIdentity",
        "identity_differences",
        "identity_of",
    ),
    "identity.model_signature": (
        "SignedModel",
        "check_model_signature",
        "check_signed_files",
    ),
    "identity.tensor_tree": (
        "TensorEntry",
        "TensorProof",
    ),
    "intervening.intervene": ("intervene",),
    "probing.calibration_report": ("Calibration", "CalibrationReport", "calibration_report"),
    "probing.causal_probe": ("CausalProbe",),
    "probing.cross_validation": ("CrossValidation",),
    "probing.drifts": (
        "DriftReport",
        "ProbeDrift",
        "ProbeSetDrift",
        "measure_drift",
    ),
    "probing.fitted_range": ("FittedRange", "Range"),
    "probing.layer_choice": ("DimensionSweep", "FinalTest", "LayerFigures", "Sweep"),
    "probing.layer_sweep": ("sweep", "sweep_files"),
    "probing.logistic": ("LogisticFit",),
    "probing.options": ("FittingOptions", "InterventionOptions", "TrainingOptions"),
    "probing.penalty": ("Penalty",),
    "probing.probe_readings": ("Reading", "read_probe"),
    "probing.probe_set_files": ("write_probe_sets",),
    "probing.probes": ("Probe", "ProbeSet", "Training", "read_probe_set"),
    "probing.score_histogram": ("ScoreHistogram",),
    "probing.split_rows": ("SplitRows",),
    "probing.survival": ("After", "ProbeSurvival"),
    "probing.survival_files": (
        "JudgedFiles",
        "LayerSurvival",
        "SurvivalReport",
        "measure_survival",
    ),
    "probing.token_readings": ("ProbeReadings", "TextReadings", "TokenText", "read_tokens"),
    "probing.other_rows": ("OtherRows", "Others"),
    "probing.shift_falls": ("Shifted",),
    "probing.training": ("TrainingContext", "TrainingResult", "train"),
    "probing.training_files": ("train_files", "train_layers"),
    "probing.transfer_matrix": (
        "ComparedCorpus",
        "LayerTransfer",
        "TransferCell",
        "TransferMatrix",
        "transfer_matrix",
    ),
    "signing.attestation": ("Attestation", "read_attestation", "write_attestation"),
    "signing.binding": (
        "Binding",
        "BoundActivations",
        "BoundCorpus",
        "BoundGeometry",
        "BoundProbeSet",
        "BoundModel",
        "BoundReadings",
        "BoundRecord",
        "BoundUnembedding",
    ),
    "signing.key_making": ("generate_key_files",),
    "signing.keyrings": (
        "KeyEntry",
        "Keyring",
        "load_keyring",
        "new_keyring",
        "with_key",
        "with_revocation",
    ),
    "signing.keys": ("PublicKey", "SecretKey", "load_public_key", "load_secret_key"),
    "signing.reference_members": (
        "CausalScore",
        "CurvaturePoint",
        "CurvatureReading",
        "DensityPoint",
        "DensityReading",
        "DirectionalDrift",
        "DomainScope",
        "PermittedDomain",
    ),
    "signing.signed_bytes": ("InnerProductTag",),
    "verifying.history": (
        "History",
        "HistoryLink",
        "HistoryRefused",
        "verify_history",
    ),
    "verifying.reproduce": ("reproduce",),
    "verifying.reproduction": ("Link", "Reproduction"),
    "verifying.verdict": ("Refused", "Step", "Verdict"),
    "verifying.verify": ("verify",),
}
"""All names that are promised, by the module in which they stand; the test of the rooms compares
the imports above, which are for type checkers."""

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]  # noqa: PLE0604 - one table of names


def __getattr__(name: str) -> object:
    """A promised name, loaded when it is first used.

    Raises:
        MissingExtra: what it needs is of an extra that is not installed.
    """
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with optional():
        value: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
