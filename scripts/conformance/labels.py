"""Labels files: docs/formats.md, Labels."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.vector import Vector, accepted, refused

WHITE_SPACE = (
    "\t\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space but for the line feed, which ends a line."""


def labels() -> Iterator[Vector]:
    """Vectors of kind `labels`."""
    for name, data, found, comment in (
        ("digits", "1\n0\n", "1 0", "a label a line"),
        ("words", "true\nfalse\n", "1 0", "the other two spellings"),
        ("no-line-feed-at-the-end", "1\n0", "1 0", "the last line needs no line feed"),
        ("carriage-returns", "true\r\nfalse\r\n", "1 0", "white space around a line is dropped"),
        ("blank-lines", "\n \t1 \n\n\n\u00a00\n\u2028\n", "1 0", "empty lines are skipped"),
        ("every-white-space", f"{WHITE_SPACE}1{WHITE_SPACE}\n{WHITE_SPACE}\n0\n", "1 0",
         "all of Unicode's White_Space, around a label and alone"),
        ("stub", "0\n0\n0\n", "0 0 0", "as extract writes it for three positions"),
        ("empty", "", "none", "no byte, no label"),
        ("only-blank-lines", "\n\n", "none", "no label"),
    ):  # fmt: skip
        yield accepted("labels", name, data.encode(), comment, labels=found)
    for name, data, line, comment in (
        ("another-word", "1\nyes\n", 2, "not one of the four spellings"),
        ("capital", "1\nTrue\n", 2, "True and 1.0 are for tables"),
        ("decimal", "1\n\n1.0\n", 3, "True and 1.0 are for tables"),
        ("two-on-a-line", "1 0\n", 1, "a label a line"),
        ("leading-zero", "01\n", 1, "not one of the four spellings"),
        ("another-digit", "0\n2\n", 2, "labels are 0 and 1"),
        ("minus-one", "-1\n", 1, "labels are 0 and 1"),
        ("arabic-digit", "\u0661\n", 1, "a digit one of another script"),
        ("form-feed-between", "0\f1\n", 1, "white space that is no line feed ends no line"),
        ("line-separator-between", "0\n1\u20280\n", 2, "U+2028 ends no line"),
        ("file-separator", "0\n\x1c0\n", 2, "U+001C is not White_Space"),
        ("zero-width-space", "\u200b0\n", 1, "U+200B is not White_Space"),
        ("byte-order-mark", "\ufeff0\n", 1, "U+FEFF is not White_Space"),
        ("carriage-return-alone", "1\r0\r", 1, "a carriage return alone ends no line"),
    ):
        yield refused("labels", name, "BadLabel", data.encode(), comment, line=str(line))
    yield refused("labels", "not-utf-8", "BadText", b"0\n\xff\n", "a byte that no UTF-8 has")
    yield refused("labels", "utf-16", "BadText", "0\n1\n".encode("utf-16"), "begins with ff fe")
    yield refused("labels", "too-large", "TooLarge", b"0\n", "two bytes more than 16 MiB",
                  repeats=((0, 2, 2**23 + 1),))  # fmt: skip
