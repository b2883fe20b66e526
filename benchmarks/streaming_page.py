"""docs/large_volumes.md from the results of streaming.py: every number of a measurement is from there.

Usage: python benchmarks/streaming_page.py [--results FOLDER] [-o docs/large_volumes.md]
"""

import json
from pathlib import Path

from machine import in_words
from pages import table, wrapped, write_page

TEXT = """\
# Large volumes

A volume stays in its file unless it is small, and is read from there slab by slab: checked, masked,
averaged over equivalent voxels, described, reindexed and converted. In memory remain six bytes a voxel
(the number of its irreducible point, and two flags while these are looked for) and what belongs to the
irreducible points themselves. The results are those of the volume in memory: the same points, and means
that differ by rounding.

Slabs are cut across the axis that comes first in the file, so that each is read in one piece. While it
is worked on, a slab takes at most 256 MiB, or `slab_memory` (MiB) in `[measurement]` of the model, or
`slab_bytes` of `read_volume`; one plane is the least.

- Single precision stays single, which halves the file; sums are in double precision.
- The file must be left alone while it is in use. One that changes is noticed, and refused.
- `outliers` of `[mask]` needs all voxels at once, about 200 bytes each, and is refused where these do
  not fit.
- `volume["intensity"].values` reads all of a variable and keeps it, as with `xarray.open_dataset`.
- More voxels than the memory can number, at six bytes each, are refused before anything is read.

## What it takes

Nickel on {voxels:,} voxels (h, k, l from -8 to 8 in steps of 0.05, a 20x20x20 supercell, {points:,}
irreducible points), a NeXus file of {file_MiB:.0f} MiB in double precision. Each line is a process of
its own, imports included.

{table}

`python benchmarks/streaming.py FOLDER`, {machine}
"""


def page(results: Path) -> str:
    """The page, from the folder of results."""
    found = json.loads((results / "streaming.json").read_text("utf-8"))
    rows = [
        [name, f"{step['peak_GiB']:.2f}", f"{step['cpu_seconds']:.0f}", f"{step['seconds']:.0f}"]
        for name, step in found["steps"].items()
    ]
    head = ["", "peak memory (GiB)", "seconds of CPU", "seconds on the clock"]
    text = TEXT.format(
        voxels=found["voxels"],
        points=found["steps"]["read and average"]["points"],
        file_MiB=found["file_MiB"],
        table=table(head, rows),
        machine=in_words(found["machine"]),
    )
    return "\n\n".join(wrapped(part) if not part.startswith("- ") else part for part in text.split("\n\n"))


if __name__ == "__main__":
    write_page(page, "large_volumes.md", __doc__)
