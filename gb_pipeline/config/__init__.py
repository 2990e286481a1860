"""What a project says of itself: gb.yaml, the environment, credentials, symbol files."""
