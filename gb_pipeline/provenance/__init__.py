"""Where a stored value comes from: kept responses, replaying them, explaining a bar."""
