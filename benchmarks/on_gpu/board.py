"""The table of the measurement: every row stands from the beginning, as not yet measured."""

import contextlib
import io
import tempfile
from pathlib import Path

from benchmarks.harness import Report, number

PENDING = "not yet measured"
TITLE = "Training at full size on one GPU"
ROWS: dict[str, tuple[str, str]] = {
    "copy": ("copy within the GPU's memory, read and written", ""),
    "link": ("from page-locked memory to the GPU", ""),
    "bfloat16": ("matrix product, bf16", ""),
    "float32": ("matrix product, fp32 without TF32", ""),
    "draw": ("lab draws images of 292 px, all cores", ""),
    "load": ("all crops of the training brought to the GPU", ""),
    "views": ("both views of a batch, on the GPU", ""),
    "resident": ("delivery of batches, crops resident", ""),
    "streamed": ("delivery of batches, crops streamed", ""),
    "host": ("delivery of batches by the CPU's loader", ""),
    "compile": ("first step, compilation included", ""),
    "step": ("a step of ours: bf16, compiled, crops resident", ""),
    "epoch": ("an epoch of 71,200 images, measured whole", "45 s"),
    "run": ("50 epochs, from that", "40 min"),
    "memory": ("peak memory of the GPU", ""),
    "plain": ("a step of the plain implementation", ""),
    "plain_epoch": ("its epoch, from its steps with its own reading", ""),
    "ratio": ("how much faster ours is, step by step in turn", "8x"),
    "bytes": ("a step must move, at the least", ""),
    "flop": ("a step must compute", ""),
    "limit": ("least time of a step, from both and the measured rates", ""),
    "share": ("share of that limit reached", "50%"),
    "step_streamed": ("a step with streamed crops", ""),
    "step_plain_code": ("a step without compilation", ""),
    "step_fp32": ("a step in fp32, without compilation", ""),
    "step_same_bits": ("a step with algorithms that give the same bits, without compilation", ""),
    "accuracy_fp32": ("All ACC on lab (gcd-v2), fp32, mean and range over seeds", ""),
    "accuracy_bf16": ("the same in bf16", "no loss"),
}


class Board:
    """Rows by key; writes ``gpu.json`` and prints.

    Args:
        folder: Where; None to print alone.
        toy: Whether the numbers are of toy size, which the title then says.
    """

    def __init__(self, folder: Path | None, *, toy: bool = False) -> None:
        self.folder = folder
        self.toy = toy
        self.found: dict[str, tuple[str, str]] = {}
        self.tables: list[tuple[str, list[str], list[list[str]]]] = []
        self.notes: list[str] = []

    def set(self, key: str, value: float, unit: str, remark: str = "") -> None:
        """Fill in a row."""
        if key not in ROWS:
            raise KeyError(key)
        self.found[key] = (f"{number(value)} {unit}".strip(), remark)
        print(f"   {ROWS[key][0]}: {self.found[key][0]} {remark}".rstrip(), flush=True)

    def table(self, title: str, head: list[str], rows: list[list[str]]) -> None:
        """Add a table of its own."""
        self.tables.append((title, head, rows))

    def note(self, text: str) -> None:
        """Add a sentence."""
        self.notes.append(text)

    def missing(self) -> list[str]:
        """Rows that are not yet measured."""
        return [key for key in ROWS if key not in self.found]

    def write(self, *, quiet: bool = False) -> None:
        """Write what is known so far."""
        title = f"{TITLE}: toy size, on the CPU" if self.toy else TITLE
        report = Report("gpu", title)
        rows = [
            [what, goal, *self.found.get(key, (PENDING, ""))] for key, (what, goal) in ROWS.items()
        ]
        report.table("CAL, ResNet-50", ["what", "goal", "measured", "remark"], rows)
        for each in self.tables:
            report.table(*each)
        for text in self.notes:
            report.note(text)
        if not self.found:
            report.note("Nothing here was measured yet: no GPU was at hand.")
        hidden = contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()
        with hidden, tempfile.TemporaryDirectory() as nowhere:
            report.write(self.folder or Path(nowhere))
