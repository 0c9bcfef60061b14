"""Names of files that a worker and whoever starts it both know."""

FORECAST_SPEC, FORECAST_RESULT = "spec.json", "forecast.json"
"""Of the folder that a forecast is made in: what is asked, what was found."""
