"""Results of interventions as text or JSON. Untrusted text is escaped."""

from __future__ import annotations

from geometry_of_trust.documents.interventions import MEASURES, Answer, Intervention
from geometry_of_trust.showing.text import as_json, table
from geometry_of_trust.terminal import quoted

_SAYS: dict[Answer, str] = {"YES": "yes", "NO": "no", "UNKNOWN": "not known"}


def intervention(result: Intervention) -> str:
    """What `intervene` prints: what was run, what was measured, and the three verdicts."""
    probe, texts, effect = result.probe, result.texts, result.effect
    first, second = (quoted(target.text) for target in result.targets)
    ratios = sorted(
        other.deviation / effect.deviation if effect.deviation else 0.0 for other in result.random
    )
    rows = [
        ("probe", f"{quoted(probe.dimension)}, layer {probe.layer}, of {quoted(result.model_id)}"),
        ("texts", f"{texts.count}, the state of the {texts.tokens} token of each"),
        ("logit difference", f"{first} less {second}: {result.difference:.4g} on average, "
                             f"{result.gain:+.4g} {_gained(result)}"),
        ("added", f"{result.delta:g} standard deviations of the projection, of "
                  f"{effect.deviation:.4g} each"),
        ("random directions", f"{len(result.random)}, of the same length; their standard deviation "
                              f"is {ratios[0]:.4f} to {ratios[-1]:.4f} times the probe's"),
        ("not reproducible", ", ".join(map(quoted, result.unproved))),
    ]  # fmt: skip
    names = ("", "probe", "random: least", "median", "95 %", "greatest", "p")
    lines = [names, *(_line(result, name, said) for name, said in _MEASURED.items())]
    verdicts = [
        ("DETECTS", f"{_SAYS[result.detects]}: {_detected(result)}"),
        ("STEERS", f"{_SAYS[result.steers]}: {effect.plus:+.4g} where it is added, "
                   f"{effect.minus:+.4g} where it is taken away, p = {_p(result, 'steering')}"),
        ("NECESSARY", f"{_SAYS[result.necessary]}: {_fallen(result)}, p = {_p(result, 'fall')}"),
    ]  # fmt: skip
    shown = (f"{line[0]:<26}" + "".join(f"{x:>{w}}" for x, w in zip(line[1:], _WIDTHS, strict=True))
             for line in lines)  # fmt: skip
    return "\n".join((table(rows), "", *shown, "", table(verdicts)))


_MEASURED = {
    "steering": "logit difference, +/-",
    "added_kl": "KL, added (nats)",
    "fall": "gain lost, projected out",
    "removed_kl": "KL, projected out (nats)",
}
_WIDTHS = (12, 16, 12, 12, 12, 8)


def _line(result: Intervention, name: str, said: str) -> tuple[str, ...]:
    of = MEASURES[name]
    ordered = sorted(of(other) for other in result.random)
    shown = (
        of(result.effect), ordered[0], ordered[len(ordered) // 2],
        ordered[-(-95 * len(ordered) // 100) - 1], ordered[-1],
    )  # fmt: skip
    return (said, *(f"{x:.4g}" for x in shown), _p(result, name))


def _p(result: Intervention, name: str) -> str:
    return f"{float(result.p(name)):.3g}"


def _detected(result: Intervention) -> str:
    found, verdict = result.auroc, result.probe.verdict
    card = "the probe has no card" if verdict is None else f"{verdict} by the probe's card"
    if found is None:
        return f"{card}; these texts have no labels"
    shown = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return f"{card}; AUROC on these texts {shown}"


def _fallen(result: Intervention) -> str:
    if result.gain <= 0:
        return f"the logit difference gains nothing {_gained(result)}"
    left = 1 - result.effect.fall / result.gain
    return f"projected out, {100 * left:.0f} % of what it gains {_gained(result)} is left"


def _gained(result: Intervention) -> str:
    if result.texts.label_column is None:
        return "with a standard deviation of the reading"
    return "from label 0 to label 1"


def intervention_tree(result: Intervention) -> dict[str, object]:
    """What `intervene --json` prints: summary, p-values and verdicts; the rest is in the file."""
    return {
        "dimension": result.probe.dimension,
        "layer": result.probe.layer,
        "texts": result.texts.count,
        "targets": [dict(vars(target)) for target in result.targets],
        "delta": result.delta,
        "directions": len(result.random),
        "difference": result.difference,
        "gain": result.gain,
        "effect": dict(vars(result.effect)),
        "p": {name: float(result.p(name)) for name in MEASURES},
        "auroc": None if result.auroc is None else dict(vars(result.auroc)),
        "detects": result.detects,
        "steers": result.steers,
        "necessary": result.necessary,
        "sha256": result.sha256,
    }


def intervention_json(result: Intervention) -> str:
    """As JSON."""
    return as_json(intervention_tree(result))
