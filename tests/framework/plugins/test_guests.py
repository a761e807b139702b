"""Where a stranger's words go while its code runs in our process."""

from __future__ import annotations

import sys
import threading
import warnings

import pytest

from flagstone.plugins.guests import importing, quiet_output


def test_what_is_printed_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet_output():
        sys.stdout.write("a")
        with quiet_output():
            sys.stdout.write("b")
        sys.stdout.write("c")
    sys.stdout.write("d")
    assert capsys.readouterr() == ("d", "abc")


def test_blocks_that_overlap_in_threads_leave_the_output_as_it_was() -> None:
    before = sys.stdout
    inside, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_output():
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=other)
    with quiet_output():
        thread.start()
        assert inside.wait(10)
    assert sys.stdout is sys.stderr  # the other thread is not done
    go_on.set()
    thread.join(10)
    assert sys.stdout is before


def test_an_interruption_names_who_was_imported() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, importing("plugin 'x'"):
        raise KeyboardInterrupt
    (note,) = caught.value.__notes__
    assert note.startswith("while importing plugin 'x'; ")
    assert "--no-plugins" in note


def test_a_warning_names_who_was_imported() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with importing("plugin 'x'"):
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert [(str(w.message), w.category) for w in caught] == [
        ("plugin 'x': old", DeprecationWarning)
    ]


def test_a_refused_signature_is_told_alike_in_every_process(registry_of) -> None:
    source = "@hookimpl\ndef flagstone_models(zeta, alpha, mu): return []"
    (row,) = registry_of({"a": source}).providers()
    assert "{'alpha', 'mu', 'zeta'}" in row.reason
