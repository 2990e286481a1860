"""What a user says about a project: gb.yaml, the environment, credentials and symbol files."""
