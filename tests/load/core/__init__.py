"""When calls are due, who makes them, what became of each; knows no door and no scenario."""
