"""Writes the rules as the Prometheus operator reads them: python -m deploy.prometheus.build."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
TARGET = _HERE.parent / "k8s/components/monitoring/rules.yaml"
_HEAD = """\
# Written by make manifests from deploy/prometheus.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pequod
  namespace: pequod
spec:
  groups:
"""


def main() -> None:
    """Write the file anew."""
    TARGET.write_text(rendered())


def rendered() -> str:
    """Both files of rules as one PrometheusRule; text for text, so that comments stay."""
    files = [(_HERE / name).read_text() for name in ("recording.yaml", "alerts.yaml")]
    groups = "".join(text.partition("\ngroups:\n")[2] for text in files)
    return _HEAD + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    main()
