"""What `making` makes of a made-up module; run by `make mutants`, which has the libraries."""

from __future__ import annotations

from mutation.making import mutants

MADE_UP = '''"""A made-up module: "docs" are no code."""

LIMIT: int = 3


def fits(size: int) -> bool:
    """Whether 1 of that size fits."""
    if size < 0:
        raise BadSize(f"size {size}", expected="a size", found=size, hint="Say 1.")
    hint = "4"
    warn(size, hint=hint)
    return size <= LIMIT
'''


def test_mutants_are_faults_and_no_message_texts() -> None:
    """Faults in code, each in one line; texts of errors stay."""
    made = mutants(MADE_UP)
    assert [(mutant.line, mutant.name) for mutant in made] == [
        (3, "module: LIMIT: int = 3 → LIMIT: int = None"),
        (3, "module: 3 → 4"),
        (8, 'fits: if size < 0: raise BadSize(f"size {… → if True: raise BadSize(f"size {…'),
        (8, 'fits: if size < 0: raise BadSize(f"size {… → if False: raise BadSize(f"size {…'),
        (8, "fits: < 0 → <= 0"),
        (8, "fits: 0 → 1"),
        (9, 'fits: BadSize(f"size {size}", expected="a size", fou… → '
            'BadSize(None, expected="a size", fou…'),
        (11, "fits: warn(size, hint=hint) → warn(None, hint=hint)"),
        (12, "fits: <= LIMIT → < LIMIT"),
    ]  # fmt: skip
    limit = made[1]
    assert limit.source == MADE_UP.replace("= 3", "= 4")
    for mutant in made:
        changed = zip(MADE_UP.splitlines(), mutant.source.splitlines(), strict=True)
        lines = [number for number, (ours, other) in enumerate(changed, 1) if ours != other]
        assert lines == [mutant.line]
