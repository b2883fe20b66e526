"""Make `nxs_analysis_tools.nxs` with nxs-analysis-tools (0.1.16), which is too heavy to be a test dependency.

Run it with `python make_nxs_analysis_tools.py` where `nxs-analysis-tools` is installed. An NXrefine file,
data[Ql, Qk, Qh] with the value 100 i_h + 10 i_k + i_l, is loaded by its `load_transform`, and saved on the
axes H, K, L, in the layout that its `load_data` reads (that of CHESS).
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from nexusformat.nexus import NXdata, NXentry, NXfield, NXroot, NXsample
from nxs_analysis_tools import load_data, load_transform

AXES = {"Ql": np.array([3.0, 5.0]), "Qk": np.linspace(0, 1, 3), "Qh": np.linspace(-1, 0.5, 4)}
l, k, h = np.indices((2, 3, 4))  # noqa: E741
signal = NXfield(100.0 * h + 10.0 * k + l, name="data")
transform = NXdata(signal, [NXfield(values, name=name) for name, values in AXES.items()])
sample = NXsample(unitcell_a=3.0, unitcell_b=4.0, unitcell_c=5.0,
                  unitcell_alpha=80.0, unitcell_beta=85.0, unitcell_gamma=95.0)  # fmt: skip

with tempfile.TemporaryDirectory() as folder:
    source = Path(folder, "nxrefine.nxs")
    NXroot(NXentry(transform=transform, sample=sample)).save(source)
    loaded = load_transform(source, print_tree=False)
    axes = [NXfield(axis.nxvalue, name=name) for axis, name in zip(loaded.nxaxes, "HKL", strict=True)]
    chess = NXdata(NXfield(loaded.nxsignal.nxvalue, name="counts"), axes)
    # The file remembers where it was saved first.
    saved = Path(folder, "nxs_analysis_tools.nxs")
    NXroot(NXentry(data=chess, sample=sample)).save(saved)
    print(load_data(saved, print_tree=False).tree)
    shutil.copy(saved, Path(__file__).parent)
