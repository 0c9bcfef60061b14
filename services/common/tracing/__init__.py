"""Traces by OpenTelemetry: spans of calls, W3C context in metadata, export by OTLP when it is configured."""
