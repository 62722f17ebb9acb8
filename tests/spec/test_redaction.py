"""What is hidden in long and hostile texts, in bounded time, and which keys are those of user-data."""

from __future__ import annotations

import time
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.spec.models.secret import MASK
from reconciler.spec.tree import MAX_BYTES
from reconciler.spec.yaml.document import Refused, read_document
from reconciler.spec.yaml.redaction import is_private, redaction_of

KEYS = ("cloud_init", "user_data")


@given(st.text("cloud_initsera-xC9", min_size=1, max_size=16))
def test_a_key_is_private_if_it_is_similar_to_one_of_user_data(key: str) -> None:
    close = get_close_matches(key.lower().replace("-", "_"), KEYS, n=1, cutoff=0.7)
    assert is_private(key) == bool(close)


def test_in_a_very_long_text_all_after_the_first_key_is_hidden() -> None:
    text = "vms: {a: {cloud_init: x}}\nb: c\n"
    assert redaction_of(text).mask(2, "b: c") == "b: c"
    long = redaction_of(text + "#" * 2**16)
    assert long.mask(1, "vms: {a: {cloud_init: x}}") == f"vms: {{a: {{cloud_init: {MASK}"
    assert long.mask(2, "b: c") == MASK


def test_in_a_very_long_text_too_many_words_that_look_like_keys_count_as_one() -> None:
    words = ("".join(letters) for letters in product("tn", repeat=12))
    text = "".join(f"{word}: 1\n" for word in islice(words, 2001))
    assert not redaction_of(f"{text}last: 1\n").follows(2002), "the parser finds that they are not"
    assert redaction_of(f"{text}last: 1\n{'#' * 2**16}").follows(2002)


@pytest.mark.parametrize("unit", ["a{}: {{}}, ", "a{}: , ", "cloud{:020}: , ", "clou_ini{:020}: , "])
def test_a_hostile_text_of_the_largest_size_takes_a_second_at_most(unit: str) -> None:
    words = "".join(unit.format(number) for number in range(120_000))[: MAX_BYTES - 20]
    text = f"vms: {{{words[: words.rindex(',')]}}}"
    start = time.process_time()
    with suppress(Refused):
        read_document(text)
    redaction_of(text)
    assert time.process_time() - start < 2.0, "0.5 to 0.9 s on a quiet machine"
