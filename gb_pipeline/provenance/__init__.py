"""This package says where a stored value comes from: it keeps track of kept responses, replays them, and explains a bar."""
