"""Geometry of Trust: measure what a language model represents, and sign the measurement.

The public names are loaded when first used, so that `verify` needs no numpy, and training and
attesting need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geometry_of_trust.attestation import Attestation, read_attestation, write_attestation
    from geometry_of_trust.attesting import attest
    from geometry_of_trust.bridges import to_numpy, to_pandas, to_torch
    from geometry_of_trust.calibration import CalibrationReport, calibration_report
    from geometry_of_trust.card import Card
    from geometry_of_trust.classifier import CausalProbe
    from geometry_of_trust.converting import Converted, convert
    from geometry_of_trust.depth import Sweep
    from geometry_of_trust.errors import GotError
    from geometry_of_trust.extraction import Extraction, extract, read_record
    from geometry_of_trust.formats import (
        Activations,
        Unembedding,
        read_activations,
        read_labels,
        read_unembedding,
        write_activations,
        write_unembedding,
    )
    from geometry_of_trust.geometry import Geometry
    from geometry_of_trust.keys import (
        PublicKey,
        SecretKey,
        generate_key_files,
        load_public_key,
        load_secret_key,
    )
    from geometry_of_trust.probes import Probe, ProbeSet, read_probe, read_probe_set
    from geometry_of_trust.reading import TextReadings, read_tokens
    from geometry_of_trust.reproduction import Reproduction, reproduce
    from geometry_of_trust.sweeping import sweep, sweep_files
    from geometry_of_trust.training import TrainingResult, train
    from geometry_of_trust.training_files import train_files, train_layers
    from geometry_of_trust.verification import Refused, Verdict, verify

__version__ = "0.1.0"

__all__ = [
    "Activations",
    "Attestation",
    "CalibrationReport",
    "Card",
    "CausalProbe",
    "Converted",
    "Extraction",
    "Geometry",
    "GotError",
    "Probe",
    "ProbeSet",
    "PublicKey",
    "Refused",
    "Reproduction",
    "SecretKey",
    "Sweep",
    "TextReadings",
    "TrainingResult",
    "Unembedding",
    "Verdict",
    "attest",
    "calibration_report",
    "convert",
    "extract",
    "generate_key_files",
    "load_public_key",
    "load_secret_key",
    "read_activations",
    "read_attestation",
    "read_labels",
    "read_probe",
    "read_probe_set",
    "read_record",
    "read_tokens",
    "read_unembedding",
    "reproduce",
    "sweep",
    "sweep_files",
    "to_numpy",
    "to_pandas",
    "to_torch",
    "train",
    "train_files",
    "train_layers",
    "verify",
    "write_activations",
    "write_attestation",
    "write_unembedding",
]

_ROOMS = {
    "attestation": ("Attestation", "read_attestation", "write_attestation"),
    "attesting": ("attest",),
    "bridges": ("to_numpy", "to_pandas", "to_torch"),
    "calibration": ("CalibrationReport", "calibration_report"),
    "card": ("Card",),
    "classifier": ("CausalProbe",),
    "converting": ("Converted", "convert"),
    "depth": ("Sweep",),
    "errors": ("GotError",),
    "extraction": ("Extraction", "extract", "read_record"),
    "formats": (
        "Activations",
        "Unembedding",
        "read_activations",
        "read_labels",
        "read_unembedding",
        "write_activations",
        "write_unembedding",
    ),
    "geometry": ("Geometry",),
    "keys": (
        "PublicKey",
        "SecretKey",
        "generate_key_files",
        "load_public_key",
        "load_secret_key",
    ),
    "probes": ("Probe", "ProbeSet", "read_probe", "read_probe_set"),
    "reading": ("TextReadings", "read_tokens"),
    "reproduction": ("Reproduction", "reproduce"),
    "sweeping": ("sweep", "sweep_files"),
    "training": ("TrainingResult", "train"),
    "training_files": ("train_files", "train_layers"),
    "verification": ("Refused", "Verdict", "verify"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
