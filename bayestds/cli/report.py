"""The command that writes the report of a result."""

import time
from pathlib import Path

from bayestds.cli.output import check_output, print_json, progress_bar, words
from bayestds.diagnostics.result_file import read_result
from bayestds.io.atomic import atomic_path
from bayestds.report.html import report_page


def report(path: Path, output: Path | None, n_draws: int, seed: int, as_json: bool) -> None:
    """Write the page of a result, by default beside it under the same name."""
    began = time.perf_counter()
    target = output or path.with_suffix(".html")
    check_output(target, inputs=[path])
    tree = read_result(path)
    with progress_bar(path.stem) as tell:
        tell("report")
        page = report_page(tree, path.name, n_draws, seed)
        with atomic_path(target) as temporary:
            temporary.write_text(page, "utf-8", newline="\n")
    if as_json:
        print_json(
            {
                "output": str(target),
                "bytes": target.stat().st_size,
                "draws": n_draws,
                "seed": seed,
                "seconds": time.perf_counter() - began,
            }
        )
    words.print(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB.", markup=False)
