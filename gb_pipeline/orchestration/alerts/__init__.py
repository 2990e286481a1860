"""Who is told of what fails, and of its end: `state` decides what is news, `send` tells it, `sensor` watches Dagster."""
