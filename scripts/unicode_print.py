#!/usr/bin/env python3
"""Writes src/vault/tree/printable.rs: which characters Go's strconv.Quote leaves as they are.

restic quotes names with strconv.Quote, so the table must be of the Unicode version that its Go compiler carries
(Go 1.21 to 1.25: 15.0.0). Python brings another version along; the package unicodedata2 has the right one:

    pip install unicodedata2==15.0.0
    python3 scripts/unicode_print.py > src/vault/tree/printable.rs
"""

import sys

import unicodedata2

WANTED = "15.0.0"
# Letters, marks, numbers, punctuation, symbols; of the spaces only U+0020.
PRINTABLE = "LMNPS"


def printable(code):
    return code == 0x20 or unicodedata2.category(chr(code))[0] in PRINTABLE


def boundaries():
    """The code points at which the answer changes; the first one switches to printable."""
    before = False
    for code in range(sys.maxunicode + 1):
        now = printable(code)
        if now != before:
            yield code
        before = now


def main():
    if unicodedata2.unidata_version != WANTED:
        sys.exit(f"unicodedata2 carries Unicode {unicodedata2.unidata_version}, wanted {WANTED}")
    codes = list(boundaries())
    print("//! Characters that Go's strconv.Quote prints as they are. Written by scripts/unicode_print.py: do not edit.")
    print("//!")
    print(f"//! From the Unicode Character Database {WANTED} (Unicode License v3), as in Go 1.21 to 1.25.")
    print()
    print("/// Sorted code points at which the answer changes: below the first nothing is printable, from the first to")
    print("/// before the second everything is, and so on.")
    print("#[rustfmt::skip]")
    print(f"pub(super) const BOUNDARIES: [u32; {len(codes)}] = [")
    for at in range(0, len(codes), 12):
        print("    " + " ".join(f"0x{code:x}," for code in codes[at : at + 12]))
    print("];")


main()
