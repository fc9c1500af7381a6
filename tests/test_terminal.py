"""Bars and curves of blocks, and colours only where somebody looks."""

import io
import math
import os
import pty

import pytest

from blurtrain.terminal import bar, is_coloured, redraw, sparkline, styled


@pytest.mark.parametrize("share", [0, 0.01, 0.25, 0.5, 0.99, 1, 1.5, -1])
def test_a_bar_is_as_long_as_it_should_be(share: float) -> None:
    shown = bar(share, 10)
    assert len(shown) == 10
    filled = shown.count("█") + sum(" ▏▎▍▌▋▊▉".index(c) / 8 for c in shown if c != "█")
    assert abs(filled - 10 * min(max(share, 0), 1)) <= 1 / 16


def test_a_curve_goes_from_its_lowest_to_its_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3.0, math.nan, 1.0, math.inf]) == "█ ▁ "
    assert sparkline([5.0, 5.0]) == "▁▁" and sparkline([]) == ""
    long = sparkline([float(k) for k in range(1000)], 20)
    assert len(long) == 20 and long[0] == "▁" and long[-1] == "█"


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main, end = pty.openpty()
    with os.fdopen(end, "w") as terminal, os.fdopen(main, "rb"):
        assert is_coloured(terminal)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not is_coloured(terminal)
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "dumb")
        assert not is_coloured(terminal)
    assert not is_coloured(io.StringIO())
    assert styled("x", "good", False) == styled("x", "", True) == "x" != styled("x", "good", True)
    redraw("as it is")
    assert capsys.readouterr().out == "as it is\n"
