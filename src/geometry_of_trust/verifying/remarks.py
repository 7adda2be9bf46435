"""What is to be said of a document beside that its checks passed, in words; empty if nothing is."""

from __future__ import annotations

from geometry_of_trust.signing.attestation import Attestation


def both_ways(claimed: Attestation) -> str:
    """What is to be said of a bidirectional run, which few expect."""
    run = None if claimed.binding is None else claimed.binding.extraction_record
    return "; of a BIDIRECTIONAL run" if run is not None and run.bidirectional else ""


def unknown_training(claimed: Attestation) -> str:
    """What is to be said of probes that do not say what they were trained on."""
    sets = () if claimed.binding is None else claimed.binding.probe_sets
    return "; probes of UNKNOWN TRAINING" if any(x.unknown_training for x in sets) else ""


def off_range(claimed: Attestation) -> str:
    """What is to be said of readings that are not of what their probes were trained on."""
    sets = () if claimed.binding is None else claimed.binding.probe_sets
    elsewhere = "; probes read at OTHER TOKENS" if any(x.other_tokens for x in sets) else ""
    far = sum(sum(x.outside) for x in sets)
    if claimed.binding is not None and claimed.binding.readings is not None:
        far = claimed.binding.readings.outside
    return f"{elsewhere}{f'; readings OUTSIDE of the fitted range: {far}' if far else ''}"


def evaluated(claimed: Attestation) -> str:
    """What is to be said of an evaluation: too good, and the bar that was set beforehand."""
    evaluation = None if claimed.binding is None else claimed.binding.evaluation
    if evaluation is None:
        return ""
    known = any(probe.trained_on for probe in evaluation.probes)
    too_good = "; evaluated ON ROWS OR TEXTS TRAINED ON" if known else ""
    if (bar := evaluation.bar) is None:
        return too_good
    return f"{too_good}; the bar was {'MET' if bar.met else 'NOT MET'}: {bar.demand}"


def intervened(claimed: Attestation) -> str:
    """What is to be said of interventions: which probes steer, by what their signer says."""
    bound = () if claimed.binding is None else claimed.binding.interventions
    if not bound:
        return ""
    steer = sum(entry.steers == "YES" for entry in bound)
    return f"; interventions, not run again here: {steer} of {len(bound)} STEER"


def counted(attestation: Attestation) -> str:
    """How many readings there are."""
    beside = None if attestation.binding is None else attestation.binding.readings
    if beside is not None:
        return f"no readings, as those of {beside.rows} rows lie beside it; lengths and flags agree"
    rows = len(attestation.layer_readings)
    count = sum(map(len, attestation.layer_readings))
    readings = "1 reading" if count == 1 else f"{count} readings"
    return f"{readings} from {rows} probe set{'s'[: rows != 1]}; lengths and flags agree"
