"""Feeds random bytes as files, transcripts and probe output: from hypothesis, and from coverage-guided atheris."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.fuzz.checks import CHECKS, NONCE

ROOT = Path(__file__).parents[2]
RUNS, SECONDS = 20_000, 8
FRAMES = [f"\1 {frame}\n" for frame in ("open", "begin 0", "begin 1", "result 0 0 0", "result 1 0 1", "skip 1", "end")]
OUTPUTS = st.lists(st.sampled_from([*FRAMES, f"{NONCE[:-1]} open\n", "x"]) | st.text(max_size=9), max_size=20)


def seeds(check: str) -> list[bytes]:
    """Return the seed inputs of a check: files of the tests and examples, whole transcripts, answers of hosts."""
    if check == "files":
        found = [*(ROOT / "tests" / "errors").rglob("*.yaml"), *(ROOT / "examples").rglob("*.yaml")]
        return [path.read_bytes() for path in sorted(found) if path.stat().st_size < 10_000]
    if check == "transcript":
        return ["".join(FRAMES).encode(), "".join(FRAMES[:2] + FRAMES[3:]).encode()]
    cases = sorted((ROOT / "tests" / "apply" / "drivers" / "cases").rglob("*.json"))
    texts = [json.dumps(json.loads(path.read_text()), indent=0) for path in cases[::6]]
    return [bytes([number]) + text.encode() for number, text in enumerate(texts)]


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=400), st.sampled_from(sorted(CHECKS)))
@example(b"\xff\xfe\0", "files")
@example(b"", "probes")
def test_any_bytes_are_handled(data: bytes, check: str) -> None:
    CHECKS[check](data)
    assert check in CHECKS


@settings(max_examples=examples(150), deadline=None)
@given(OUTPUTS)
def test_no_task_is_done_without_its_results(pieces: list[str]) -> None:
    CHECKS["transcript"]("".join(pieces).encode(errors="surrogatepass"))
    assert NONCE not in "".join(pieces)


@pytest.mark.slow
@pytest.mark.usefixtures("atheris")
@pytest.mark.parametrize("check", sorted(CHECKS))
def test_coverage_guided_bytes_are_handled(check: str, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    for number, seed in enumerate(seeds(check)):
        (tmp_path / "seeds" / str(number)).write_bytes(seed)
    argv = [sys.executable, "-m", "tests.fuzz.guided", check, f"-runs={RUNS}", f"-max_total_time={SECONDS}"]
    argv += ["-seed=7", "-timeout=5", "-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/", str(tmp_path / "seeds")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False, timeout=120)
    broken = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert (done.returncode, broken) == (0, []), f"these bytes break {check}: {broken}\n{done.stderr[-4000:]}"
    assert "\nDone " in done.stderr
