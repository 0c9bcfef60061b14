"""Exports modules for other runtimes; nothing is published before its outputs equal eager's."""

from services.common.export.graph import GraphSpec
from services.common.export.manifest import ExportManifest, OutputParity, Target, read_export, verify
from services.common.export.run import export_graphs, export_module

__all__ = [
    "ExportManifest",
    "GraphSpec",
    "OutputParity",
    "Target",
    "export_graphs",
    "export_module",
    "read_export",
    "verify",
]
