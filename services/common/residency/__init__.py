"""Models in memory: what is loaded, who uses it, what must leave."""

from services.common.residency.contract import Loader, Resident, Standing, State
from services.common.residency.manager import ModelManager

__all__ = ["Loader", "ModelManager", "Resident", "Standing", "State"]
