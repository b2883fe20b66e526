"""Names of the choices that model files, Python and the command line share."""

from typing import Literal

StatisticsName = Literal["classical", "quantum"]
"""How atoms move: as in molecular dynamics, or as in a real crystal."""

Family = Literal["normal", "student_t", "shrinkage"]
"""Shape of the prior of the irreducible force constants."""

Invariance = Literal["none", "rotation", "huang", "both"]
"""Which conditions of rotational invariance the force constants obey."""

Radiation = Literal["point", "xray", "neutron"]
"""What scatters, and hence with which factors atoms do."""

ZerosAre = Literal["measured", "unmeasured"]
"""What intensities of exactly zero mean in a volume without counts."""

Method = Literal["nuts", "laplace", "normal"]
"""How a posterior is drawn from."""
